FROM --platform=$BUILDPLATFORM eclipse-temurin:21-jdk-alpine AS builder

WORKDIR /src
COPY . .

RUN ./gradlew clean build -x test

RUN $JAVA_HOME/bin/jlink \
    --add-modules java.base,java.logging,java.sql \
    --strip-debug \
    --compress=2 \
    --no-header-files \
    --no-man-pages \
    --output /customjre

FROM alpine:3.20

ENV JAVA_HOME=/opt/jre
ENV PATH="$JAVA_HOME/bin:$PATH"

COPY --from=builder /customjre /opt/jre
COPY --from=builder /src/build/libs/app.jar /app/app.jar

CMD ["java", "-jar", "/app/app.jar"]
