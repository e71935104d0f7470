# docker-bake.hcl
variable "TAG" {
  default = "latest"
}

variable "REGISTRY" {
  default = "yourusername"
}

group "default" {
  targets = ["app"]
}

target "app" {
  context = "."
  dockerfile = "Dockerfile"
  tags = [
    "${REGISTRY}/app:${TAG}",
    "${REGISTRY}/app:latest"
  ]
  platforms = [
    "linux/amd64",
    "linux/arm64"
  ]
  cache-from = ["type=registry,ref=${REGISTRY}/app:buildcache"]
  cache-to = ["type=registry,ref=${REGISTRY}/app:buildcache,mode=max"]
  args = {
    BUILDKIT_INLINE_CACHE = "1"
  }
}

target "test" {
  inherits = ["app"]
  platforms = ["linux/amd64"]  # 테스트는 단일 아키텍처로
  output = ["type=docker"]
}
