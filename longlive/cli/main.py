"""The command line: ``python -m longlive generate | replay | bench | fetch | train | evaluate | …``."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.chunks import SWITCH_MODES, FrameChunk
from longlive.errors import ConfigError, LongLiveError
from longlive.runtime.options import add_model_options, say

if TYPE_CHECKING:
    from longlive.generation.session import Session
    from longlive.generation.storyboard import Scene
    from longlive.models.bundle import ModelBundle


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 for "differs", 2 for an error told in one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser(arguments[:2]).parse_args(arguments)
    try:
        return args.run(args)
    except LongLiveError as error:
        print(f"longlive: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("longlive: stopped", file=sys.stderr)
        return 130


def _parser(command: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m longlive", description="Type a prompt, get a video that goes on."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(commands.add_parser("generate", help="make a video from prompts"))
    _add_replay(commands.add_parser("replay", help="make the video of a session file again"))
    bench = commands.add_parser("bench", help="measure the speed from prompt to encoded pictures")
    _add_fetch(commands.add_parser("fetch", help="get a model, and say where it lies"))
    train = commands.add_parser("train", help="train a model: one stage, or the storybook's whole recipe")
    evaluate = commands.add_parser("evaluate", help="score what a model draws")
    merge = commands.add_parser("merge-lora", help="put a LoRA into a model's weights")
    prompts = commands.add_parser("prompts", help="write, make and check prompts for training")
    loadtest = commands.add_parser("loadtest", help="put many viewers before a running app")
    if command[1:] == ["storybook"]:
        from longlive.cli import storybook as cli

        cli.add_train_arguments(train)
        cli.add_evaluate_arguments(evaluate)
        train.set_defaults(run=cli.run_train)
        evaluate.set_defaults(run=cli.run_evaluate)
    elif command[:1] == ["bench"]:
        from longlive.cli import bench as bench_cli

        bench_cli.add_arguments(bench)
        add_model_options(bench, many=True)
        _add_stream(bench)
        bench.set_defaults(run=_bench)
    elif command[:1] == ["evaluate"]:
        from longlive.cli import evaluate as evaluation

        evaluation.add_evaluate_arguments(evaluate)
    elif command[:1] in (["train"], ["merge-lora"]):
        from longlive.cli import train as training

        training.add_train_arguments(train)
        training.add_merge_arguments(merge)
        train.set_defaults(run=training.run_train)
        merge.set_defaults(run=training.run_merge)
    elif command[:1] == ["prompts"]:
        from longlive.cli import prompts as prompt_cli

        prompt_cli.add_arguments(prompts)
    elif command[:1] == ["loadtest"]:
        from longlive.benchmark.loadtest import runner as load

        load.add_arguments(loadtest)
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", required=True, help="what to begin with, or a storyboard (.json, .jsonl)")
    parser.add_argument(
        "--at",
        nargs=2,
        action="append",
        default=[],
        metavar=("SECONDS", "PROMPT"),
        help="go on with another prompt at the first chunk not before SECONDS; may be repeated",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="length, rounded up to whole chunks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--switch", choices=SWITCH_MODES, default="soft", help="how to go over to another prompt"
    )
    parser.add_argument(
        "--switch-every", type=float, default=10.0, help="for storyboards without times (seconds)"
    )
    parser.add_argument("--line", type=int, default=0, help="which story of a .jsonl file, counted from 0")
    parser.add_argument("--out", type=Path, default=Path("longlive.mp4"), help="the video (MP4)")
    parser.add_argument("--session", type=Path, help="write a session file as well, for replay")
    parser.add_argument(
        "--scale", type=int, help="enlarge pictures so many times (default: as the model says)"
    )
    parser.add_argument("--json", action="store_true", help="print what was made as one JSON object")
    add_model_options(parser)
    _add_stream(parser)
    parser.set_defaults(run=_generate)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a session file")
    parser.add_argument("--out", type=Path, help="write the video (MP4)")
    parser.add_argument("--verify", action="store_true", help="exit 1 and name the first chunk that differs")
    parser.add_argument(
        "--scale", type=int, help="enlarge pictures so many times (default: as the model says)"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    add_model_options(parser, model=None)
    parser.set_defaults(run=_replay)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a known name, or a Hub id such as owner/name; or a name of your own")
    group = parser.add_argument_group(
        "another checkpoint of the family (Self-Forcing, CausVid, Wan 2.1 1.3B)"
    )
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help=".pt, .pth or .safetensors")
    group.add_argument("--lora", type=Path, metavar="FILE", help="to be merged into it")
    group.add_argument("--lora-scale", type=float, default=1.0, help="alpha / rank (default: 1)")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FACT=VALUE",
        help="what differs from LongLive, such as --set window=21 --set sink=0; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell sizes and free space")
    parser.add_argument("--verify", action="store_true", help="compare what lies here with its digests")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    parser.set_defaults(run=_fetch)


def _add_stream(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stream (default: what the model was tuned with)")
    group.add_argument("--window", type=int, help="latent frames attended to, sink included; -1 for all")
    group.add_argument("--sink", type=int, help="latent frames of the first chunk that are kept for ever")
    group.add_argument("--positions", choices=("absolute", "relative"), help="how latent frames are counted")


def _generate(args: argparse.Namespace) -> int:
    from longlive.generation.session import Session
    from longlive.generation.storyboard import play

    scenes = _scenes(args)
    models = _load(args.model, args)
    with Session(models, scenes[0].text, seed=args.seed, switch=args.switch, **_stream(args)) as session:
        chunks = _progress(play(session, scenes[1:], args.seconds), args.seconds)
        _write(args.out, chunks, args.scale, models)
        if args.session:
            session.save(args.session)
        made = _made(session) | {"out": str(args.out), "session": args.session and str(args.session)}
    _tell(args.json, made, f"{args.out}: {made['seconds']:.1f} s, {made['chunks']} chunks, seed {args.seed}")
    return 0


def _replay(args: argparse.Namespace) -> int:
    from longlive.generation.session import Session
    from longlive.generation.session_file import SessionRecord

    record = SessionRecord.read(args.file)
    args.dtype, args.device = args.dtype or record.dtype, args.device or record.device
    args.threads = args.threads or record.threads
    args.quantize = record.quantization if args.quantize == "off" else args.quantize
    args.cache = record.cache if args.cache == "full" else args.cache
    models = _load(args.model or record.model, args)
    differing: list[int] = []
    with Session.of_record(models, record) as session:
        chunks = _progress(_replayed(session, record, differing, args.verify), _length(session, record))
        if args.out:
            _write(args.out, chunks, args.scale, models)
        else:
            for _ in chunks:
                pass
        made = _made(session) | {"first_difference": differing[0] if differing else None}
    words = f"chunk {differing[0]} differs" if differing else f"{made['chunks']} chunks, all as recorded"
    _tell(args.json, made, words)
    return 1 if differing and args.verify else 0


def _bench(args: argparse.Namespace) -> int:
    from longlive.cli import bench as bench_cli

    lines = bench_cli.run_bench(args, _stream(args), _progress)
    print("\n".join(lines))
    return 1 if any("error" in run for run in json.loads(lines[-1]).get("runs", ())) else 0


def _fetch(args: argparse.Namespace) -> int:
    from longlive.weights.assembly import add_decoders, assemble, print_download_plan
    from longlive.weights.layout import verify
    from longlive.weights.registry import find_model
    from longlive.weights.released import RECIPES, recipe_of

    facts, lora = _facts(args.set), {"lora": args.lora, "lora_scale": args.lora_scale}
    recipe = RECIPES.get(args.model)
    if args.checkpoint:
        recipe = recipe_of(args.checkpoint, name=args.model, **lora, **facts)
    if recipe and args.dry_run:
        print_download_plan(recipe, say)
        return 0
    folder = assemble(recipe, say) if recipe else find_model(args.model)
    if recipe:
        add_decoders(recipe, folder, say)
    if args.verify:
        verify(folder)
    _tell(args.json, {"model": args.model, "folder": str(folder)}, str(folder))
    return 0


def _facts(settings: list[str]) -> dict[str, Any]:
    """Facts of a model as they are given on the command line; values are JSON, or text."""
    facts: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError("--set", setting, "it must be FACT=VALUE", "Try --set window=21.")
        try:
            facts[name] = json.loads(value)
        except ValueError:
            facts[name] = value
    return facts


def _scenes(args: argparse.Namespace) -> "list[Scene]":
    from longlive.generation.storyboard import SUFFIXES, Scene, read_storyboard
    from longlive.prompts import check_prompt

    if args.prompt.endswith(SUFFIXES):
        scenes = read_storyboard(args.prompt, switch_every=args.switch_every, line=args.line)
    else:
        scenes = [Scene(0.0, args.prompt)]
    for seconds, prompt in args.at:
        try:
            scenes.append(Scene(float(seconds), prompt))
        except ValueError as error:
            raise ConfigError(
                "--at", seconds, "it must be a number of seconds", "Try --at 5 PROMPT."
            ) from error
    for scene in scenes:
        check_prompt(scene.text)
    return scenes


def _load(name: str, args: argparse.Namespace) -> "ModelBundle":
    from longlive.runtime.startup import RuntimeOptions, ready_models

    return ready_models(name, RuntimeOptions.of(vars(args)), say)


def _stream(args: argparse.Namespace) -> dict[str, Any]:
    choices = {name: getattr(args, name) for name in ("window", "sink", "positions")}
    return {name: value for name, value in choices.items() if value is not None}


def _write(out: Path, chunks: Iterable[FrameChunk], scale: int | None, models: "ModelBundle") -> None:
    from longlive.media.gif import write_gif
    from longlive.media.mp4 import write_video

    scale = scale or models.config.display_scale
    if out.suffix == ".gif":
        write_gif(out, chunks, scale)
    else:
        write_video(out, chunks, scale, encoder=models.encoder)


def _replayed(session: "Session", record: Any, differing: list[int], verify: bool) -> Iterator[FrameChunk]:
    """The recorded chunks made again; the index of each that differs is put down, and ends a verification."""
    for index, digest in enumerate(record.chunks):
        chunk = session.next_chunk()
        if session.digests[index] != digest:
            differing.append(index)
        yield chunk
        if differing and verify:
            return


def _length(session: "Session", record: Any) -> float:
    facts, cuts = session.models.config, sum(prompt.switch == "hard" for prompt in record.prompts)
    latents = len(record.chunks) * session.stream.chunk
    return (latents * facts.temporal_scale - (1 + cuts) * (facts.temporal_scale - 1)) / facts.fps


def _made(session: "Session") -> dict[str, Any]:
    record = session.record()
    return {
        "model": record.model,
        "seed": record.seed,
        "seconds": session.seconds,
        "fps": session.models.config.fps,
        "chunks": session.num_chunks,
        "prompts": [vars(prompt) for prompt in record.prompts],
    }


def _progress(chunks: Iterable[FrameChunk], seconds: float) -> Iterator[FrameChunk]:
    """Pass chunks on, with a bar of seconds on stderr."""
    from tqdm import tqdm

    with tqdm(total=round(seconds, 2), unit="s", disable=None, file=sys.stderr) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(min(chunk.seconds, bar.total - bar.n))


def _tell(as_json: bool, values: dict[str, Any], words: str) -> None:
    print(json.dumps(values, ensure_ascii=False) if as_json else words)
