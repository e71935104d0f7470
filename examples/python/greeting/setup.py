from setuptools import Extension, setup

setup(ext_modules=[Extension("greeting", ["greeting.c"])])
