"""The command line: ``python -m longlive COMMAND``."""
