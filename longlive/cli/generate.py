"""The commands ``generate`` and ``replay``: a video file from prompts, or from a session file."""

import argparse
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from longlive.cli.common import (
    FORCE_HELP,
    Command,
    add_stream_options,
    check_stream,
    free_path,
    load_with_options,
    print_note,
    print_result,
    shorten,
    stream_changes,
    with_progress,
)
from longlive.cli.interruption import interruption
from longlive.config import SwitchMode, parse_size, size_text
from longlive.errors import ConfigError
from longlive.files import check_destination, check_distinct, has_suffix, is_special, name_of_video
from longlive.runtime.options import add_model_options

if TYPE_CHECKING:
    import numpy as np

    from longlive.chunks import FrameChunk
    from longlive.config import ModelConfig, StreamConfig
    from longlive.generation.session import Session
    from longlive.generation.session_file import SessionRecord
    from longlive.generation.storyboard import Scene
    from longlive.models.bundle import ModelBundle

SCALE_HELP = "enlarge the pictures by this whole number (default: what the model suggests)"
OUT_HELP = "MP4, QuickTime, WebM or GIF, by its suffix (.mp4, .m4v, .mov, .webm, .gif; none: .mp4)"
MAX_SCALE = 16


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``generate``."""
    parser.add_argument(
        "--prompt", required=True, help="the first prompt, or a storyboard (.json, .jsonl, .txt)"
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="begin with a picture, or with the last seconds of a video (.png, .jpg, .webp, .gif, .mp4 …)",
    )
    parser.add_argument(
        "--size",
        metavar="WIDTHxHEIGHT",
        help="of the pictures, such as 480x832: one of the model's sizes (default: its own)",
    )
    parser.add_argument(
        "--at",
        nargs=2,
        action="append",
        default=[],
        metavar=("SECONDS", "PROMPT"),
        help="switch to another prompt at the first chunk not before SECONDS; may be repeated",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="length of the video (default: all prompts, the last for --switch-every)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument(
        "--switch",
        choices=get_args(SwitchMode),
        help="how prompts switch (default: as the model was made for)",
    )
    parser.add_argument(
        "--switch-every",
        type=float,
        default=10.0,
        help="seconds of each prompt without a time, and of the last one (default: 10)",
    )
    parser.add_argument(
        "--line",
        type=int,
        help="which line of a .jsonl or .txt file, from 0 (default: 0)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"the video file: {OUT_HELP} (default: longlive-PROMPT-seedSEED.mp4)",
    )
    parser.add_argument("--session", type=Path, help="write a session file as well, for replay")
    parser.add_argument("--force", action="store_true", help=FORCE_HELP)
    parser.add_argument("--scale", type=int, help=SCALE_HELP)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_model_options(parser)
    add_stream_options(parser)


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``replay``."""
    parser.add_argument("file", type=Path, help="a session file")
    parser.add_argument("--out", type=Path, help=f"write the video: {OUT_HELP}")
    parser.add_argument(
        "--verify", action="store_true", help="stop at the first chunk that differs, and exit with status 1"
    )
    parser.add_argument(
        "--remix",
        action="store_true",
        help="make a new video of the same prompts, times and seed with --model, instead of the same video",
    )
    parser.add_argument(
        "--session", type=Path, help="with --remix: write the new video's session file as well"
    )
    parser.add_argument("--force", action="store_true", help=FORCE_HELP)
    parser.add_argument("--scale", type=int, help=SCALE_HELP)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_model_options(parser, model=None)


def run_generate(args: argparse.Namespace) -> int:
    """Write the video and its session file; after an interruption or an error, what there is of them."""
    from longlive.generation.session import Session

    scenes, seconds = _read_scenes(args)
    out = _video_path(args.out) or Path(f"{name_of_video(scenes[0].text, args.seed)}.mp4")
    _check_options(args, out, source=args.prompt if os.path.isfile(args.prompt) else None)
    config, options = check_stream(args.model, stream_changes(args))
    size = parse_size(args.size) if args.size else None
    config = config.at(size)
    start = _read_start(args, config, options)
    out, session_file = free_path(out, args.force), args.session and free_path(args.session, args.force)
    check_distinct({"--out": out, "--session": session_file})
    models = load_with_options(args.model, vars(args)).at_size(size)
    stream = stream_changes(args)
    how = {"seed": args.seed, "switch": args.switch, "start": start}
    with Session(models, scenes[0].text, **how, **stream) as session:
        return _make_video(args, session, scenes, seconds, out, session_file)


def _make_video(
    args: argparse.Namespace,
    session: "Session",
    scenes: "list[Scene]",
    seconds: float,
    out: Path,
    session_file: Path | None,
) -> int:
    """Write the video of a new session and its session file, and print what was made; the exit status."""
    from longlive.generation.storyboard import play, unreached_scenes

    models = session.models
    with interruption() as interrupted:
        unreached = unreached_scenes(session, scenes[1:], seconds)
        for scene in unreached:
            print_note(f"the prompt at {scene.at:g} s is not reached: {shorten(scene.text)}")
        chunks = interrupted.until(play(session, scenes[1:], seconds))
        _write(out, with_progress(chunks, seconds), args.scale, models)
        record = _record_until(session, models.config.frames_until(seconds))
        if session_file:
            record.write(session_file)
        result = _summary(session, record) | {"out": str(out), "session": session_file and str(session_file)}
    result |= {"not_reached": [vars(scene) for scene in unreached]}
    count = "1 chunk" if result["chunks"] == 1 else f"{result['chunks']} chunks"
    length = f"{result['seconds']:g} s, {count}, seed {session.seed}"
    stopped = interrupted.stopped and f"{interrupted.stopped} ({seconds:g} s were asked for)"
    print_result(
        result | {"stopped": bool(stopped)}, f"{out}: {length}{stopped}", as_json=args.json, beside=out
    )
    interrupted.raise_error()
    return interrupted.exit_status


def run_replay(args: argparse.Namespace) -> int:
    """Generate the video of a session file again, and compare its chunks with the recorded ones."""
    from longlive.generation.session import Session
    from longlive.generation.session_file import SessionRecord

    out = _video_path(args.out)
    _check_options(args, out, source=args.file)
    record = SessionRecord.read(args.file)
    if args.remix:
        return _remix(args, record, out)
    if args.session:
        rule = "a replay has the session file that it is made from"
        raise ConfigError("--session", str(args.session), rule, "Leave it out, or give --remix.")
    out = out and free_path(out, args.force)
    models = load_with_options(args.model or record.model, vars(args) | _recorded_options(args, record))
    differing: list[int] = []
    with Session.of_record(models, record) as session, interruption() as interrupted:
        chunks = interrupted.until(_replayed(session, record, differing, args.verify))
        chunks = with_progress(chunks, record.duration(models.config))
        if out:
            _write(out, chunks, args.scale, models)
        else:
            for _ in chunks:
                pass
        result = _summary(session, _record_until(session, record.num_frames)) | {
            "first_difference": differing[0] if differing else None
        }
    text = f"chunk {differing[0]} differs" if differing else f"{result['chunks']} chunks, all as recorded"
    if interrupted.stopped:
        text += f"{interrupted.stopped}; {len(record.chunks)} are recorded"
    print_result(result | {"out": out and str(out)}, text, as_json=args.json, beside=out)
    interrupted.raise_error()
    return interrupted.exit_status or (1 if differing and args.verify else 0)


def _remix(args: argparse.Namespace, record: "SessionRecord", out: Path | None) -> int:
    """Generate a new video of the prompts, times and seed of a session file with another model."""
    from longlive.generation.session import Session
    from longlive.generation.storyboard import storyboard_of_record

    if args.verify:
        rule = "a remix is another video, whose chunks cannot be compared"
        raise ConfigError("--verify", True, rule, "Leave it out, or leave out --remix.")
    name = args.model or record.model
    config, _ = check_stream(name, {})
    scenes, seconds = storyboard_of_record(record, config)
    out = free_path(out or Path(f"{name_of_video(scenes[0].text, record.seed)}.mp4"), args.force)
    session_file = args.session and free_path(args.session, args.force)
    check_distinct({"--out": out, "--session": session_file})
    print_note(f"{args.file} is made anew with {name}: its digests of chunks are not compared")
    if record.size not in config.all_sizes:
        print_note(f"{name} does not make {size_text(record.size)}, so it makes {size_text(config.size)}")
    else:
        config = config.at(record.size)
    models = load_with_options(name, vars(args)).at_size(config.size)
    with Session(models, scenes[0].text, seed=record.seed, take=record.take) as session:
        return _make_video(args, session, scenes, seconds, out, session_file)


def _read_scenes(args: argparse.Namespace) -> "tuple[list[Scene], float]":
    """The scenes that the options describe, the first at 0, and the length of the video in seconds."""
    from longlive.generation.storyboard import Scene, check_seconds, check_time, storyboard_seconds

    check_seconds("--switch-every", args.switch_every)
    scenes = _read_prompt(args)
    for at, prompt in args.at:
        try:
            seconds = float(at)
        except ValueError as error:
            rule = "it must be a number of seconds"
            raise ConfigError("--at", at, rule, "Try --at 5 PROMPT.") from error
        _check_no_file("--at", prompt)
        scenes.append(Scene(check_time("--at", seconds), _as_typed(prompt)))
    if args.seconds is None:
        return scenes, storyboard_seconds(scenes, args.switch_every)
    return scenes, check_seconds("seconds", args.seconds)


def _read_prompt(args: argparse.Namespace) -> "list[Scene]":
    """The scenes of ``--prompt``: those of a storyboard's file, or one."""
    from longlive.generation.storyboard import Scene, read_storyboard, storyboard_lines

    is_json = has_suffix(args.prompt, ".json")
    has_lines = has_suffix(args.prompt, ".jsonl") or (
        has_suffix(args.prompt, ".txt") and os.path.isfile(args.prompt)
    )
    if args.line is not None and not has_lines:
        rule = "lines are those of a .jsonl or .txt file, and --prompt names none"
        raise ConfigError("--line", args.line, rule, "Leave it out, or give such a file.")
    if not is_json and not has_lines:
        _check_no_file("--prompt", args.prompt)
        return [Scene(0.0, _as_typed(args.prompt))]
    line = args.line or 0
    scenes = read_storyboard(args.prompt, switch_every=args.switch_every, line=line)
    if has_lines and (lines := len(storyboard_lines(args.prompt))) > 1:
        print_note(f"line {line} of {lines} in {args.prompt} is taken; --line chooses another")
    return scenes


def _read_start(
    args: argparse.Namespace, config: "ModelConfig", stream: "StreamConfig"
) -> "np.ndarray | None":
    """The pictures to begin with; says how many of a video's there are."""
    from longlive.generation.start_clip import fill_chunks, read_start

    if args.start is None:
        return None
    pictures = read_start(args.start, config, stream)
    if len(pictures) > 1:
        used = min(len(pictures), len(fill_chunks(pictures, config, stream)))
        print_note(f"the video begins with the last {used / config.fps:.2f} s of {args.start}")
    return pictures


def _as_typed(prompt: str) -> str:
    """A prompt in UTF-8 as its characters, also where Python reads arguments in a narrower encoding."""
    try:
        return prompt.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return prompt


def _check_no_file(option: str, prompt: str) -> None:
    """ConfigError if a prompt is the name of a file, which would be drawn as words."""
    if os.path.isfile(prompt):
        rule = "that is a file, and a file of prompts ends in .json, .jsonl or .txt"
        raise ConfigError(option, prompt, rule, "Rename the file, or write the prompt in other words.")


def _check_options(args: argparse.Namespace, out: Path | None, *, source: str | Path | None) -> None:
    """Check what can be known before the model is loaded; ConfigError names the option."""
    from longlive.generation.noise import check_seed

    if "seed" in args:
        check_seed(args.seed)
    if "size" in args and args.size:
        parse_size(args.size)
    if args.scale is not None and not 1 <= args.scale <= MAX_SCALE:
        raise ConfigError("--scale", args.scale, f"it must be from 1 to {MAX_SCALE}", "Try 2.")
    if args.threads is not None and args.threads < 1:
        raise ConfigError("--threads", args.threads, "it must be at least 1", "Leave it out.")
    destinations = {"--out": out, "--session": getattr(args, "session", None)}
    inputs = {"the input": Path(source) if source else None, "--start": getattr(args, "start", None)}
    check_distinct(inputs | destinations)
    for option, path in destinations.items():
        if path:
            check_destination(option, path)


def _video_path(out: Path | None) -> Path | None:
    """Where ``--out`` is written: a name without a suffix gets .mp4, which is said.

    Raises:
        ConfigError: if the suffix asks for a container that we do not write.
    """
    from longlive.media.mp4 import SUFFIXES
    from longlive.media.webm import webm_is_available

    known = (*SUFFIXES, *([".webm"] if webm_is_available() else []), ".gif")
    if out is None or has_suffix(out, *known) or os.path.isdir(out) or is_special(out):
        return out
    if out.suffix:
        rule = f"videos are written as {', '.join(known)}"
        raise ConfigError("--out", str(out), rule, f"Try {out.with_suffix('.mp4')}.")
    named = out.with_name(f"{out.name}.mp4")
    print_note(f"{out} has no suffix, so the video is named {named}")
    return named


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
        chunk = session.next_chunk().until(record.num_frames or math.inf)
        if session.digests[index] != digest:
            differing.append(index)
        if len(chunk.frames):
            yield chunk
        if differing and verify:
            return


def _write(
    out: Path,
    chunks: "Iterable[FrameChunk]",
    scale: int | None,
    models: "ModelBundle",
) -> None:
    from longlive.media.gif import write_gif
    from longlive.media.mp4 import write_video
    from longlive.media.webm import write_webm

    scale = scale or models.config.display_scale
    if has_suffix(out, ".gif"):
        write_gif(out, chunks, scale)
    elif has_suffix(out, ".webm"):
        write_webm(out, chunks, scale)
    else:
        write_video(out, chunks, scale, encoder=models.runtime.encoder)


def _record_until(session: "Session", end_frame: int | None) -> "SessionRecord":
    """The session's record; if its last chunk goes beyond ``end_frame``, it says where the video ends."""
    is_cut = end_frame is not None and end_frame / session.models.config.fps < session.seconds
    return replace(session.record(), num_frames=end_frame if is_cut else None)


def _summary(session: "Session", record: "SessionRecord") -> dict[str, Any]:
    fps = session.models.config.fps
    return {
        "model": record.model,
        "seed": record.seed,
        "seconds": record.num_frames / fps if record.num_frames else session.seconds,
        "fps": fps,
        "chunks": session.num_chunks,
        "prompts": [vars(prompt) for prompt in record.prompts],
    }


COMMANDS = (
    Command("generate", "generate a video from prompts", add_generate_arguments, run_generate),
    Command("replay", "generate the video of a session file again", add_replay_arguments, run_replay),
)
