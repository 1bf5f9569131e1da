"""The commands ``generate`` and ``replay``: a video file from prompts, or from a session file."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from longlive.cli.common import (
    Command,
    add_stream_options,
    load_with_options,
    print_result,
    stream_changes,
    with_progress,
)
from longlive.config import SwitchMode
from longlive.errors import ConfigError
from longlive.runtime.options import add_model_options

if TYPE_CHECKING:
    from longlive.chunks import FrameChunk
    from longlive.generation.session import Session
    from longlive.generation.session_file import SessionRecord
    from longlive.generation.storyboard import Scene
    from longlive.models.bundle import ModelBundle

SCALE_HELP = "enlarge the pictures by this whole number (default: what the model suggests)"


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``generate``."""
    parser.add_argument("--prompt", required=True, help="the first prompt, or a storyboard (.json, .jsonl)")
    parser.add_argument(
        "--at",
        nargs=2,
        action="append",
        default=[],
        metavar=("SECONDS", "PROMPT"),
        help="switch to another prompt at the first chunk not before SECONDS; may be repeated",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="length, rounded up to whole chunks (default: 10)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument(
        "--switch",
        choices=get_args(SwitchMode),
        default="soft",
        help="how prompts switch (default: soft)",
    )
    parser.add_argument(
        "--switch-every",
        type=float,
        default=10.0,
        help="seconds between the prompts of a storyboard without times (default: 10)",
    )
    parser.add_argument(
        "--line", type=int, default=0, help="which line of a .jsonl storyboard, counted from 0 (default: 0)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("longlive.mp4"),
        help="the video file: MP4, or GIF if it ends in .gif (default: longlive.mp4)",
    )
    parser.add_argument("--session", type=Path, help="write a session file as well, for replay")
    parser.add_argument("--scale", type=int, help=SCALE_HELP)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_model_options(parser)
    add_stream_options(parser)


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``replay``."""
    parser.add_argument("file", type=Path, help="a session file")
    parser.add_argument("--out", type=Path, help="write the video: MP4, or GIF if it ends in .gif")
    parser.add_argument(
        "--verify", action="store_true", help="stop at the first chunk that differs, and exit with status 1"
    )
    parser.add_argument("--scale", type=int, help=SCALE_HELP)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_model_options(parser, model=None)


def run_generate(args: argparse.Namespace) -> int:
    """Generate the video, and write it and its session file."""
    from longlive.generation.session import Session
    from longlive.generation.storyboard import play

    scenes = _scenes(args)
    models, stream = load_with_options(args.model, vars(args)), stream_changes(args)
    with Session(models, scenes[0].text, seed=args.seed, switch=args.switch, **stream) as session:
        chunks = with_progress(play(session, scenes[1:], args.seconds), args.seconds)
        _write(args.out, chunks, args.scale, models)
        if args.session:
            session.save(args.session)
        result = _summary(session) | {"out": str(args.out), "session": args.session and str(args.session)}
    length = f"{result['seconds']:.1f} s, {result['chunks']} chunks, seed {args.seed}"
    print_result(result, f"{args.out}: {length}", as_json=args.json)
    return 0


def run_replay(args: argparse.Namespace) -> int:
    """Generate the video of a session file again, and compare its chunks with the recorded ones."""
    from longlive.generation.session import Session
    from longlive.generation.session_file import SessionRecord

    record = SessionRecord.read(args.file)
    models = load_with_options(args.model or record.model, vars(args) | _recorded_options(args, record))
    differing: list[int] = []
    with Session.of_record(models, record) as session:
        chunks = with_progress(_replayed(session, record, differing, args.verify), _duration(session, record))
        if args.out:
            _write(args.out, chunks, args.scale, models)
        else:
            for _ in chunks:
                pass
        result = _summary(session) | {"first_difference": differing[0] if differing else None}
    text = f"chunk {differing[0]} differs" if differing else f"{result['chunks']} chunks, all as recorded"
    print_result(result, text, as_json=args.json)
    return 1 if differing and args.verify else 0


def _scenes(args: argparse.Namespace) -> "list[Scene]":
    from longlive.generation.storyboard import SUFFIXES, Scene, read_storyboard

    if args.prompt.endswith(SUFFIXES):
        scenes = read_storyboard(args.prompt, switch_every=args.switch_every, line=args.line)
    else:
        scenes = [Scene(0.0, args.prompt)]
    for seconds, prompt in args.at:
        try:
            at = float(seconds)
        except ValueError as error:
            raise ConfigError(
                "--at", seconds, "it must be a number of seconds", "Try --at 5 PROMPT."
            ) from error
        scenes.append(Scene(at, prompt))
    return scenes


def _recorded_options(args: argparse.Namespace, record: "SessionRecord") -> dict[str, Any]:
    """How the recorded run was computed, but for what the command line asks for."""
    return {
        "dtype": args.dtype or record.dtype,
        "device": args.device or record.device,
        "threads": args.threads or record.threads,
        "quantize": record.quantization if args.quantize == "off" else args.quantize,
        "cache": record.cache if args.cache == "full" else args.cache,
    }


def _replayed(
    session: "Session", record: "SessionRecord", differing: list[int], verify: bool
) -> "Iterator[FrameChunk]":
    """Generate the recorded chunks again; add the index of each that differs to ``differing``."""
    for index, digest in enumerate(record.chunks):
        chunk = session.next_chunk()
        if session.digests[index] != digest:
            differing.append(index)
        yield chunk
        if differing and verify:
            return


def _duration(session: "Session", record: "SessionRecord") -> float:
    """Seconds of video that a record makes; the first latent of each take gives a single picture."""
    config, cuts = session.models.config, sum(prompt.switch == "hard" for prompt in record.prompts)
    latents = len(record.chunks) * session.stream.chunk
    return (latents * config.temporal_scale - (1 + cuts) * (config.temporal_scale - 1)) / config.fps


def _write(out: Path, chunks: "Iterable[FrameChunk]", scale: int | None, models: "ModelBundle") -> None:
    from longlive.media.gif import write_gif
    from longlive.media.mp4 import write_video

    scale = scale or models.config.display_scale
    if out.suffix == ".gif":
        write_gif(out, chunks, scale)
    else:
        write_video(out, chunks, scale, encoder=models.runtime.encoder)


def _summary(session: "Session") -> dict[str, Any]:
    record = session.record()
    return {
        "model": record.model,
        "seed": record.seed,
        "seconds": session.seconds,
        "fps": session.models.config.fps,
        "chunks": session.num_chunks,
        "prompts": [vars(prompt) for prompt in record.prompts],
    }


COMMANDS = (
    Command("generate", "generate a video from prompts", add_generate_arguments, run_generate),
    Command("replay", "generate the video of a session file again", add_replay_arguments, run_replay),
)
