"""The command line: ``python -m longlive COMMAND``."""

from longlive.cli.main import main

__all__ = ["main"]
