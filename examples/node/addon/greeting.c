/* greeting(name): says which processor this was compiled for. */
#include <node_api.h>
#include <stdio.h>

#if defined(__x86_64__)
#define MACHINE "x86_64"
#elif defined(__aarch64__)
#define MACHINE "aarch64"
#else
#define MACHINE "another processor"
#endif

static napi_value greeting(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value name;
  char text[128];
  if (napi_get_cb_info(env, info, &count, &name, NULL, NULL) != napi_ok || count < 1 ||
      napi_get_value_string_utf8(env, name, text, sizeof text, NULL) != napi_ok) {
    napi_throw_type_error(env, NULL, "a name is needed");
    return NULL;
  }
  char line[256];
  int length = snprintf(line, sizeof line, "hello %s from Node.js with an add-on for %s", text, MACHINE);
  napi_value result;
  if (napi_create_string_utf8(env, line, (size_t)length, &result) != napi_ok) return NULL;
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  if (napi_create_function(env, "greeting", NAPI_AUTO_LENGTH, greeting, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "greeting", function) != napi_ok) {
    return NULL;
  }
  return exports;
}
