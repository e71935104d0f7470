FROM --platform=$BUILDPLATFORM python:3.11-alpine AS builder

WORKDIR /wheels

RUN apk add --no-cache \
    build-base \
    musl-dev \
    libffi-dev \
    openssl-dev

COPY requirements.txt .
RUN pip wheel --wheel-dir /wheels -r requirements.txt

FROM python:3.11-alpine
WORKDIR /app

COPY --from=builder /wheels /wheels

RUN pip install --no-cache-dir \
    --no-index \
    --find-links=/wheels \
    -r /wheels/requirements.txt

COPY . .

CMD ["python", "app.py"]
