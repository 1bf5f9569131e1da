"""A result with where it comes from, as one JSON object, and as lines for people."""

import argparse
import datetime
import os
import shlex
from collections.abc import Mapping
from typing import Any

import psutil

from longlive.models.bundle import ModelBundle
from longlive.runtime.environment import git_revision, processor_name, versions


def report(
    args: argparse.Namespace,
    models: Mapping[str, ModelBundle],
    result: Mapping[str, Any],
    definitions: Mapping[str, str],
    seconds: float,
) -> dict[str, Any]:
    """All that a reader needs to trust a result and to repeat it.

    Args:
        args: the options of the command.
        models: by the labels that the result uses.
        result: its figures are objects of ``value``, ``ci_low``, ``ci_high`` and ``n``.
        definitions: in words, by the figures' names.
        seconds: that it took.
    """
    return {
        "command": command_of(args),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        },
        "versions": versions(),
        "git_revision": git_revision(),
        "models": {label: {"name": m.config.name, "digest": m.digest} for label, m in models.items()},
        "seed": args.seed,
        "prompts": args.prompts,
        "minutes": round(seconds / 60, 2),
        "result": result,
        "definitions": {"intervals": INTERVALS} | dict(definitions),
    }


def command_of(args: argparse.Namespace) -> str:
    """The command that these options belong to, every one of them written out."""
    words = ["python", "-m", "longlive", "evaluate", args.what]
    for name, value in vars(args).items():
        if name not in ("what", "run", "json") and value is not None:
            words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return shlex.join([*words, "--json"])


INTERVALS = (
    "95 %: Wilson's for scores that are all or nothing in every story, else the bootstrap over stories "
    "(4000 resamples, percentiles)."
)


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Figures for people, ``91.2 [84.0, 95.4]`` each, a column for each of ``rows``; others as they are."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [["", *rows]] + [[name, *(_cell(row.get(name, "")) for row in rows.values())] for name in names]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    if value["value"] is None:
        return "-"
    return f"{value['value']:.1f} [{value['ci_low']:.1f}, {value['ci_high']:.1f}]"
