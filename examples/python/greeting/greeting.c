/* greeting(name): says which processor this was compiled for. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__)
#define MACHINE "x86_64"
#elif defined(__aarch64__)
#define MACHINE "aarch64"
#else
#define MACHINE "another processor"
#endif

static PyObject *greeting(PyObject *module, PyObject *arguments) {
  const char *name;
  (void)module;
  if (!PyArg_ParseTuple(arguments, "s", &name)) return NULL;
  return PyUnicode_FromFormat("hello %s from Python with an extension for %s", name, MACHINE);
}

static PyMethodDef methods[] = {
    {"greeting", greeting, METH_VARARGS, "A greeting."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "greeting", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_greeting(void) { return PyModule_Create(&module); }
