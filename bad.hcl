variable "A" {
  default = "x"
}
target "default" {
  dockerfle = "D"
  args = { a = uper(A), b = AB }
}
