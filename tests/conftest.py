"""Ctrl-C is tested whoever starts the tests: a shell's background job ignores it, and so does all that it starts."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
