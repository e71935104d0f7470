"""Says which processor its extension was compiled for."""

import sys

import greeting

print(greeting.greeting(sys.argv[1] if len(sys.argv) > 1 else "world"))
