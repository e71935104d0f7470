{
  "targets": [
    {
      "target_name": "greeting",
      "sources": ["greeting.c"],
      "defines": ["NAPI_VERSION=8"]
    }
  ]
}
