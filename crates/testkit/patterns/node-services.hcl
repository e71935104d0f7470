# Four services of one Node.js project, for two platforms. What they have in common is built once.
variable "EXAMPLE" {}
variable "REGISTRY" {}

group "default" {
  targets = ["service"]
}

target "_project" {
  context  = EXAMPLE
  contexts = { toolchain = "docker-image://example/node-toolchain:1" }
}

target "modules" {
  inherits = ["_project"]
  target   = "modules"
}

target "bundle" {
  inherits = ["_project"]
  target   = "bundle"
}

target "service" {
  name   = service
  matrix = { service = ["api", "jobs", "mail", "web"] }

  contexts = {
    modules = "target:modules"
    bundle  = "target:bundle"
  }
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["${REGISTRY}/team/${service}:1"]
  args      = { SERVICE = service }

  dockerfile-inline = <<-DOCKERFILE
    FROM node:20-bookworm-slim
    WORKDIR /app
    COPY --from=modules /app/node_modules ./node_modules
    COPY --from=bundle /app/dist ./dist
    ARG SERVICE
    COPY <<NAME service
    $${SERVICE}
    NAME
    USER 1000:1000
    CMD ["sh", "-c", "exec node dist/index.js $(cat service)"]
  DOCKERFILE
}
