"""A result with its provenance, as one JSON object, and as a text table."""

import argparse
import datetime
import os
import shlex
from collections.abc import Mapping
from typing import Any

import psutil
import torch

from longlive.models.bundle import ModelBundle
from longlive.runtime.environment import git_revision, processor_name, versions


def report(
    args: argparse.Namespace,
    models: Mapping[str, ModelBundle],
    result: Mapping[str, Any],
    definitions: Mapping[str, str],
    seconds: float,
) -> dict[str, Any]:
    """The result with everything needed to check and repeat it.

    Args:
        args: the options of the command.
        models: by the labels that the result uses.
        result: its figures are objects of ``value``, ``ci_low``, ``ci_high`` and ``n``.
        definitions: descriptions of the figures, by name.
        seconds: duration of the measurement.
    """
    return {
        **provenance(args, seconds),
        "models": {label: {"name": m.config.name, "digest": m.digest} for label, m in models.items()},
        "seed": args.seed,
        "prompts": args.prompts,
        "result": result,
        "definitions": {"intervals": INTERVALS} | dict(definitions),
    }


def provenance(args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What a result was measured with: command, date, machine, versions, revision, and how long it took."""
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": command_of(args),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpu": cuda,
        },
        "versions": versions(),
        "git_revision": git_revision(),
        "minutes": round(seconds / 60, 2),
    }


def command_of(args: argparse.Namespace) -> str:
    """The command line with all its options written out; ``files`` are its arguments without a name."""
    words = ["python", "-m", "longlive", "evaluate", args.what, *map(str, getattr(args, "files", []))]
    for name, value in vars(args).items():
        if name in ("command", "what", "json", "files") or value is None or value is False or value == []:
            continue
        option = f"--{name.replace('_', '-')}"
        words += (
            [option] if value is True else [option, *map(str, value if isinstance(value, list) else [value])]
        )
    return shlex.join([*words, "--json"])


INTERVALS = (
    "95 %: Wilson's for scores that are all or nothing in every video, else the bootstrap over videos "
    "(4000 resamples, percentiles)."
)


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A text table with a column for each of ``rows``; estimates as ``91.2 [84.0, 95.4]``."""
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
