"""The command ``bench``: one run or a sweep, a table for people, and one JSON object as the last line."""

import argparse
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from longlive.benchmark.bench import Bench, table
from longlive.benchmark.cost import count_costs
from longlive.benchmark.sweep import Result, Variant, ratios, read_results, sweep, sweep_table, variants_of
from longlive.chunks import FrameChunk
from longlive.config import StreamConfig
from longlive.runtime.allocator import configure_cpu
from longlive.runtime.startup import RuntimeOptions, accelerate, asked_for, ready_models, warm
from longlive.weights.random_models import random_models

logger = logging.getLogger(__name__)

Progress = Callable[[Iterable[FrameChunk], float], Iterator[FrameChunk]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``bench`` beside those of model and stream."""
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="of video that are measured, after the warm-up that fills the window (default: 60)",
    )
    parser.add_argument("--switch-every", type=float, default=10.0, help="seconds between prompt switches")
    parser.add_argument(
        "--count", action="store_true", help="only count parameters, FLOPs and bytes; run nothing"
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="need no files; longlive-1.3b and mid-size are known"
    )
    parser.add_argument(
        "--overlap", action="store_true", help="decode and encode one chunk while the next is made"
    )
    parser.add_argument("--against", type=Path, metavar="REF", help="print ratios to what bench wrote there")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the last line to a file as well")


def run_bench(args: argparse.Namespace, stream: dict[str, Any], progress: Progress) -> list[str]:
    """Measure each combination of the options that make variants of a run.

    What is known is written to ``args.out`` after each of several; one that fails is put down there with its
    error.

    Returns:
        what to print, the JSON object last.

    Raises:
        ConfigError, and whatever else a run raises that is the only one.
    """
    dtypes = args.dtype or [str(RuntimeOptions(device=args.device).precision).removeprefix("torch.")]
    if args.count:
        return [json.dumps(count_costs(args.model, dtype=getattr(torch, dtypes[0]), **stream))]
    references = read_results(args.against) if args.against else []
    words = {name: getattr(args, name) for name in ("decoder", "cache", "compile", "attention")}
    variants = variants_of(dtype=dtypes, quantization=args.quantize, **words)
    results: list[Result] = []
    for result in sweep(variants, lambda variant: _measure(args, variant, stream, progress)):
        if references and "error" not in result:
            result["against"] = ratios(result, references)
        results.append(result)
        last = json.dumps(results[0] if len(variants) == 1 else {"runs": results})
        if args.out:
            args.out.write_text(last + "\n", encoding="utf-8")
    lines = [table(results[0]) if len(variants) == 1 else sweep_table(results)]
    against = [json.dumps(result["against"]) for result in results if "against" in result]
    return [*lines, *(f"times better than the reference: {one}" for one in against), last]


def _measure(
    args: argparse.Namespace, variant: Variant, stream: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    configure_cpu(args.threads or 1)
    words = vars(variant) | {"quantize": variant.quantization}
    choices = RuntimeOptions.of(vars(args) | words)
    if args.random_weights:
        place: dict[str, Any] = {"device": choices.place, "dtype": choices.precision}
        models = random_models(args.model, decoder=variant.decoder, **place)
        models = accelerate(models, choices, asked_for(choices))
    else:
        models = ready_models(args.model, choices, logger.info)
    for told in warm(models, choices, StreamConfig.of(models.config, **stream)):
        logger.info(told)
    how = {"switch_every": args.switch_every, "compile_mode": variant.compile, "overlap": args.overlap}
    bench = Bench(models, **how, **stream)
    for _ in progress(bench.run(args.seconds), args.seconds):
        pass
    return bench.result()
