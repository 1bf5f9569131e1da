"""``python -m longlive prompts switch | set | check``."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.errors import ConfigError

if TYPE_CHECKING:
    from longlive.training.data.chat_models import SceneWriter

SOME = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``prompts``."""
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    switch = commands.add_parser(
        "switch", help="have a language model write what happens next after each prompt"
    )
    _add_switch(switch)
    made = commands.add_parser("set", help="write a set of stories by a grammar")
    made.add_argument("--out", type=Path, required=True, help="the file (JSONL, a story per line)")
    made.add_argument("--seed", type=int, help="of the choices (default: the grammar's)")
    made.add_argument("--grammar", type=Path, help="TOML (default: assets/prompts/grammar.toml)")
    made.set_defaults(run=_set)
    check = commands.add_parser(
        "check", help="read prompts as training does, and say what is wrong with them"
    )
    check.add_argument("first", metavar="FILE", type=Path, help="prompts: text, or JSONL")
    check.add_argument("second", metavar="NEXT", nargs="?", type=Path, help="next prompts, line by line")
    check.add_argument("--tokenizer", help="count tokens with the tokenizer of this model, folder or Hub id")
    check.add_argument("--tokens", type=int, default=512, help="that the text encoder reads (default: 512)")
    check.set_defaults(run=_check)
    for command in (switch, made, check):
        command.add_argument("--json", action="store_true", help="print the outcome as one JSON object")


def _add_switch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompts", metavar="IN", type=Path, help="prompts: text, or JSONL")
    parser.add_argument("out", metavar="OUT", type=Path, help="pairs (JSONL); a second run goes on with it")
    parser.add_argument(
        "--endpoint", help="address of an OpenAI-compatible server, such as http://localhost:8000/v1"
    )
    parser.add_argument("--model", help="the model's name at the endpoint")
    parser.add_argument("--api-key-env", help="the environment variable that holds the key, if one is needed")
    parser.add_argument("--local", help="instead: folder or Hub id of a language model for transformers")
    parser.add_argument(
        "--tries", type=int, default=3, help="answers before a prompt is rejected (default: 3)"
    )
    parser.add_argument(
        "--parallel", type=int, default=1, help="requests at a time to the endpoint (default: 1)"
    )
    parser.add_argument("--timeout", type=float, default=120.0, help="of a request (seconds; default: 120)")
    parser.set_defaults(run=_switch)


def _switch(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from longlive.training.data.next_scene import rejected_file, write_next_scenes
    from longlive.training.data.prompt_files import read_prompts

    prompts = read_prompts(args.prompts)
    writer = _writer(args)
    with tqdm(total=len({*prompts}), unit="prompt", disable=None, file=sys.stderr) as bar:
        summary = write_next_scenes(
            prompts, args.out, writer, tries=args.tries, parallel=args.parallel, progress=bar.update
        )
    rejected = rejected_file(args.out)
    words = (
        f"{args.out}: {summary.written} written, {summary.done_before} done before, "
        f"{summary.rejected} rejected ({rejected}), {summary.duplicates} duplicates passed over"
    )
    return _tell(args, asdict(summary) | {"out": str(args.out), "rejected_file": str(rejected)}, words)


def _writer(args: argparse.Namespace) -> "SceneWriter":
    from longlive.training.data.chat_models import EndpointWriter, LocalWriter

    if bool(args.endpoint) == bool(args.local) or bool(args.endpoint) != bool(args.model):
        came = {name: getattr(args, name) for name in ("endpoint", "model", "local")}
        rule = "it must be either --endpoint and --model, or --local"
        raise ConfigError("the language model", came, rule, "Try --local FOLDER.")
    if args.local:
        if args.parallel != 1:
            raise ConfigError(
                "--parallel", args.parallel, "a local model answers one at a time", "Leave it out."
            )
        return LocalWriter(args.local)
    key = ""
    if args.api_key_env:
        key = os.environ.get(args.api_key_env, "")
        if not key:
            raise ConfigError(
                "--api-key-env", args.api_key_env, "no such variable is set", "Set it to the key."
            )
    return EndpointWriter(args.endpoint, args.model, key=key, timeout_s=args.timeout)


def _set(args: argparse.Namespace) -> int:
    from longlive.training.data.prompt_grammar import GRAMMAR, write_prompt_set

    stories = write_prompt_set(args.out, seed=args.seed, grammar=args.grammar or GRAMMAR)
    count = sum(len(story.prompts) for story in stories)
    told = {"out": str(args.out), "stories": len(stories), "prompts": count}
    return _tell(args, told, f"{args.out}: {len(stories)} stories, {count} prompts")


def _check(args: argparse.Namespace) -> int:
    from longlive.training.data.prompt_files import JSONL, read_prompt_pairs, read_prompts

    prompts = read_prompts(args.first)
    told: dict[str, Any] = {"prompts": len(prompts), "different": len({*prompts})}
    if args.second or args.first.suffix == JSONL:
        pairs = read_prompt_pairs(args.first, args.second)
        told["pairs"] = len(pairs)
        prompts = [text for pair in pairs for text in (pair.prompt, pair.next_prompt)]
    if args.tokenizer:
        told["too_long"] = [text[:60] for text in _too_long(prompts, args.tokenizer, args.tokens)]
    words = ", ".join(f"{count} {name}" for name, count in told.items() if name != "too_long")
    for text in told.get("too_long", [])[:SOME]:
        words += f"\nmore than {args.tokens} tokens, the rest is not read: {text}…"
    return _tell(args, told, words)


def _too_long(prompts: list[str], name: str, most_tokens: int) -> list[str]:
    """The different prompts of more tokens than the text encoder reads."""
    from transformers import AutoTokenizer

    from longlive.errors import CheckpointError
    from longlive.weights.registry import find_model

    folder = find_model(name)
    inner = folder / "tokenizer"
    try:
        tokenizer = AutoTokenizer.from_pretrained(inner if inner.is_dir() else folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no tokenizer ({error}). Give the folder of one.") from error
    return [text for text in dict.fromkeys(prompts) if len(tokenizer(text)["input_ids"]) > most_tokens]


def _tell(args: argparse.Namespace, values: dict[str, Any], words: str) -> int:
    sys.stdout.write((json.dumps(values, ensure_ascii=False) if args.json else words) + "\n")
    return 0
