"""The command ``bench``: one run or a sweep, a table for people, and one JSON object as the last line."""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.cli.common import (
    FORCE_HELP,
    Command,
    add_stream_options,
    check_stream,
    free_destinations,
    stream_changes,
    with_progress,
)
from longlive.files import atomic_write
from longlive.runtime.options import add_model_options

if TYPE_CHECKING:
    from longlive.benchmark.sweep import Variant
    from longlive.models.bundle import ModelBundle
    from longlive.runtime.startup import RuntimeOptions

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``bench``."""
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="length of the video that is measured, after the warm-up that fills the window (default: 60)",
    )
    parser.add_argument(
        "--switch-every", type=float, default=10.0, help="seconds between prompt switches (default: 10)"
    )
    parser.add_argument(
        "--count", action="store_true", help="only count parameters, FLOPs and bytes; run nothing"
    )
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="random weights of the model's shape; published models and mid-size then need no files",
    )
    parser.add_argument(
        "--overlap", action="store_true", help="decode and encode one chunk while the next is generated"
    )
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="print ratios to the results in FILE, written by --out"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the last line to a file as well")
    parser.add_argument("--force", action="store_true", help=FORCE_HELP)
    add_model_options(parser, many=True)
    add_stream_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure each combination of the options that may have several values; print the JSON object last.

    ``args.out`` is written after each combination. If one of several fails, its error stands for its result,
    and the exit status is 1; a single one raises.
    """
    from longlive.benchmark.bench import table
    from longlive.benchmark.sweep import ratios, read_results, sweep, sweep_table, variants_of
    from longlive.generation.storyboard import check_seconds
    from longlive.runtime.startup import RuntimeOptions

    check_seconds("--seconds", args.seconds)
    check_seconds("--switch-every", args.switch_every)
    check_stream(args.model, stream_changes(args))
    free_destinations(args, ["--out"], filter(None, [args.against]))
    dtypes = args.dtype or [str(RuntimeOptions(device=args.device).torch_dtype).removeprefix("torch.")]
    if args.count:
        return _count(args, dtypes[0])
    references = read_results(args.against) if args.against else []
    options = {name: getattr(args, name) for name in ("decoder", "cache", "compile", "attention")}
    variants = variants_of(dtype=dtypes, quantization=args.quantize, **options)
    results: list[dict[str, Any]] = []
    for result in sweep(variants, lambda variant: _measure(args, variant)):
        if references and "error" not in result:
            result["against"] = ratios(result, references)
        results.append(result)
        last = json.dumps(results[0] if len(variants) == 1 else {"runs": results})
        if args.out:
            with atomic_write(args.out) as part:
                part.write_text(last + "\n", encoding="utf-8")
    lines = [table(results[0]) if len(variants) == 1 else sweep_table(results)]
    against = [json.dumps(result["against"]) for result in results if "against" in result]
    lines += [f"times better than the reference: {one}" for one in against]
    print("\n".join([*lines, last]))
    return 1 if any("error" in result for result in results) else 0


def _count(args: argparse.Namespace, dtype: str) -> int:
    import torch

    from longlive.benchmark.cost import count_costs

    print(json.dumps(count_costs(args.model, dtype=getattr(torch, dtype), **stream_changes(args))))
    return 0


def _measure(args: argparse.Namespace, variant: "Variant") -> dict[str, Any]:
    from longlive.benchmark.bench import Bench
    from longlive.config import StreamConfig
    from longlive.runtime.allocator import configure_cpu
    from longlive.runtime.startup import RuntimeOptions, warm

    configure_cpu(args.threads or 1)
    options = RuntimeOptions.of(vars(args) | vars(variant) | {"quantize": variant.quantization})
    models, stream = _load(args, options), stream_changes(args)
    for line in warm(models, options, StreamConfig.of(models.config, **stream)):
        logger.info(line)
    how = {"switch_every": args.switch_every, "compile_mode": variant.compile, "overlap": args.overlap}
    bench = Bench(models, **how, **stream)
    for _ in with_progress(bench.run(args.seconds), args.seconds):
        pass
    return bench.result()


def _load(args: argparse.Namespace, options: "RuntimeOptions") -> "ModelBundle":
    from longlive.runtime.startup import accelerate, ready_models
    from longlive.weights.random_models import random_models

    if not args.random_weights:
        return ready_models(args.model, options, logger.info)
    models = random_models(
        args.model, decoder=options.decoder, device=options.torch_device, dtype=options.torch_dtype
    )
    return accelerate(models, options, options.preset())


COMMANDS = (Command("bench", "measure the speed from prompt to encoded pictures", add_arguments, run),)
