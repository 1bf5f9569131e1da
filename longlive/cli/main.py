"""The command line, ``python -m longlive COMMAND``: its parser, and running the command.

Every command registers itself in the ``COMMANDS`` of its module, and imports what it needs when it runs, so
that ``--help`` is quick.
"""

import argparse
import contextlib
import io
import os
import sys

from longlive.cli import bench, fetch, generate, loadtest, measure, prompts, space, train
from longlive.cli.evaluate import command as evaluate
from longlive.errors import LongLiveError

COMMANDS = {
    command.name: command
    for module in (generate, bench, fetch, train, evaluate, prompts, loadtest, measure, space)
    for command in module.COMMANDS
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: without the program's name; None: those of this process.

    Returns:
        the exit status: 0, or 1 when a replay differs; 2 after an error, which is printed in one line; 130
        when stopped by the keyboard.
    """
    _use_console()
    args = build_parser().parse_args(arguments)
    try:
        return COMMANDS[args.command].run(args) or _flush_output()
    except LongLiveError as error:
        print(f"longlive: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("longlive: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # a print that was longer than the buffer
        return _flush_output()


def _flush_output() -> int:
    """Write out what was printed; the exit status. Python itself would end with a traceback if that fails."""
    try:
        sys.stdout.flush()
        return 0
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # whoever read it has seen enough
            return 0
        print(f"longlive: the result cannot be printed: {error}", file=sys.stderr)
        return 2


def _use_console() -> None:
    """Print characters that the console cannot show as escapes, so that no result ends in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        "python -m longlive",
        description="Turn prompts into video that streams while you watch and changes when you ask.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add_arguments(subparsers.add_parser(command.name, help=command.help))
    return parser
