"""``python -m longlive train storybook`` and ``python -m longlive evaluate storybook``."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longlive.errors import ConfigError
from longlive.runtime.allocator import configure_cpu

STAGES = ("codec", "clips", "generator", "decoder", "release", "words")


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``train``."""
    parser.add_argument("what", choices=["storybook"], help="what to train")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="which, in their order"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/storybook"), help="checkpoints and logs")
    parser.add_argument("--start-from", type=Path, help="train on from the model in this folder")
    parser.add_argument("--out", type=Path, help="where the release goes (default: FOLDER/release)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--codec-steps", type=int, default=3200)
    parser.add_argument("--shards", type=int, default=80, help="of 40 clips each")
    parser.add_argument("--generator-steps", type=int, default=1500)
    parser.add_argument("--decoder-steps", type=int, default=900)
    parser.add_argument("--words-steps", type=int, default=160)


def run_train(args: argparse.Namespace) -> int:
    """Run the stages asked for; each goes on from its last checkpoint."""
    from longlive.storybook import paraphrases, release
    from longlive.storybook.workers import train_in_parallel

    if args.workers < 1:
        raise ConfigError("workers", args.workers, "it must be at least 1", "Use the number of cores.")
    folder: Path = args.folder
    if args.start_from is not None:
        release.begin_from(args.start_from, folder)
    target, jobs = args.out or folder / "release", _jobs(args)
    for stage in sorted(args.stages, key=STAGES.index):
        if stage == "release":
            release.write_model(folder, target, seed=args.seed)
        elif stage == "words":
            paraphrases.train_paraphrases(target, steps=args.words_steps, seed=args.seed)
        else:
            train_in_parallel(jobs[stage][0], args.workers, jobs[stage][1])
    return 0


def _jobs(args: argparse.Namespace) -> dict[str, tuple[Callable[..., None], dict[str, Any]]]:
    """The stages that several processes work on together, with what each is told."""
    from longlive.storybook import codec, dataset, generator

    folder: Path = args.folder
    common = {"folder": folder, "seed": args.seed}
    clips = {
        "folder": folder / "clips",
        "seed": args.seed,
        "num_shards": args.shards,
        "codec_folder": folder / "vae",
    }
    return {
        "codec": (codec.train_codec, common | {"steps": args.codec_steps}),
        "clips": (dataset.make_dataset, clips),
        "generator": (generator.train_generator, common | {"steps": args.generator_steps}),
        "decoder": (codec.train_decoder, common | {"steps": args.decoder_steps}),
    }


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate``."""
    parser.add_argument("what", choices=["storybook"], help="what to evaluate")
    parser.add_argument("--model", default="storybook", help="name, folder or Hub id")
    parser.add_argument(
        "--prompts", type=int, default=300, help="fresh prompts, a fifth of unseen combinations"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run_evaluate(args: argparse.Namespace) -> int:
    """Score the model and print what came out."""
    from longlive.evaluation.obedience import ATTRIBUTES, evaluate_storybook
    from longlive.weights.loading import load_models

    if args.prompts < 5:
        raise ConfigError(
            "prompts", args.prompts, "a fifth of them must be unseen combinations", "Use at least 5."
        )
    configure_cpu(1)
    models = load_models(args.model)
    result = evaluate_storybook(models, num_prompts=args.prompts, seed=args.seed, num_workers=args.workers)
    if args.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return 0
    names = (*ATTRIBUTES, "one_subject")
    lines = ["".ljust(24) + "".join(name.rjust(13) for name in names)]
    for part in [key for key in result if key == "before" or key.startswith("after_")]:
        for row, values in result[part].items():
            lines.append(
                f"{part} {row}".ljust(24) + "".join(_percent(values.get(name)).rjust(13) for name in names)
            )
    lines.append(
        "chance".ljust(24) + "".join(_percent(result["chance"].get(name)).rjust(13) for name in names)
    )
    lines += [f"codec, {frames} pictures: {psnr} dB" for frames, psnr in result["codec_psnr_db"].items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
