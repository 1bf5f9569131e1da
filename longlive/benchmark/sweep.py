"""Several benches in one run, side by side, and ratios to figures measured earlier."""

import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longlive.errors import ConfigError, reason_of
from longlive.files import read_text
from longlive.runtime.memory import release

logger = logging.getLogger(__name__)

Result = dict[str, Any]
"""What ``Bench.result`` returns, or the fields of a variant that failed and its ``error``."""

# The fields that differ between variants, and the columns that a table shows of each.
NAMES = ("decoder", "dtype", "quantization", "cache", "compile", "attention")
COLUMNS = (
    "fps_end_to_end",
    "fps_denoise",
    "fps_decode",
    "chunk_ms_p50",
    "chunk_ms_p95",
    "switch_ms_p95",
    "first_frame_warm_ms",
    "pass_ms_p50",
    "tflops",
    "peak_memory_bytes",
)


@dataclass(frozen=True)
class Variant:
    """One way to run a model; values are those of the command line."""

    decoder: str
    dtype: str
    quantization: str
    cache: str
    compile: str
    attention: str


def variants_of(**choices: Sequence[str]) -> list[Variant]:
    """All combinations; ``choices`` has the values of each field of Variant."""
    return [Variant(*values) for values in itertools.product(*(choices[name] for name in NAMES))]


def sweep(variants: Sequence[Variant], measure: Callable[[Variant], Result]) -> Iterator[Result]:
    """Yield the result of each variant; the memory of one is freed before the next begins.

    If one of several fails, its fields and its ``error`` are yielded, and the others go on; a single one
    raises.
    """
    for variant in variants:
        try:
            result = measure(variant)
        except Exception as error:
            if len(variants) == 1:
                raise
            logger.exception("%s", variant)
            result = vars(variant) | {"error": f"{type(error).__name__}: {error}"}
        release()
        yield result


def sweep_table(results: Sequence[Mapping[str, Any]]) -> str:
    """One line per result; below, the errors of those that failed."""
    rows = [[*NAMES, *COLUMNS]]
    rows += [[_cell(result.get(name)) for name in (*NAMES, *COLUMNS)] for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    failed = [
        f"failed: {' '.join(_cell(one.get(name)) for name in NAMES)}: {one['error']}"
        for one in results
        if "error" in one
    ]
    return "\n".join([*lines, *failed])


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def read_results(path: Path) -> list[dict[str, Any]]:
    """The results in a file that ``bench`` wrote, or whose last line is what it printed.

    Raises:
        ConfigError: if the file holds none.
    """
    try:
        text = read_text(path).strip()
        found = json.loads(text if text.startswith("{") else text.splitlines()[-1])
        results = [result for result in found.get("runs", [found]) if "error" not in result]
        if not results or not all("fps_end_to_end" in result for result in results):
            raise ValueError("it has no fps_end_to_end")
    except (OSError, ValueError, AttributeError, IndexError, TypeError) as error:
        rule = f"it must hold what bench printed ({reason_of(error)})"
        raise ConfigError("against", str(path), rule, "Give a file that bench --out wrote.") from error
    return list(results)


def ratios(result: Mapping[str, Any], references: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How many times better each figure is than in the reference that is most alike; above 1 is better.

    Pictures and FLOPs per second count upwards, milliseconds and bytes downwards.
    """
    alike = ("model", "device", *NAMES)
    reference = max(references, key=lambda one: sum(one.get(name) == result.get(name) for name in alike))
    found = {}
    for name, new in result.items():
        old = reference.get(name)
        if isinstance(new, int | float) and isinstance(old, int | float) and new and old:
            if name.startswith("fps_") or name == "tflops":
                found[name] = round(new / old, 3)
            elif "_ms" in name or name == "peak_memory_bytes":
                found[name] = round(old / new, 3)
    return found
