"""The command ``prompts``: write, make and check prompts for training."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.cli.common import Command, free_path, print_result
from longlive.errors import ConfigError
from longlive.files import check_destination, check_distinct, has_suffix

if TYPE_CHECKING:
    from longlive.training.data.chat_models import ChatModel

MAX_PRINTED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``prompts WHAT``."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    switch = commands.add_parser(
        "switch", help="have a language model write what happens next after each prompt"
    )
    _add_switch(switch)
    made = commands.add_parser("set", help="write a set of stories from a grammar")
    made.add_argument("--out", type=Path, required=True, help="the file to write (JSONL, a story per line)")
    made.add_argument("--force", action="store_true", help="replace a file that exists")
    made.add_argument("--seed", type=int, help="of the choices (default: the grammar's)")
    made.add_argument("--grammar", type=Path, help="TOML (default: assets/prompts/grammar.toml)")
    check = commands.add_parser(
        "check", help="read prompts as training does, and report what is wrong with them"
    )
    check.add_argument("first", metavar="FILE", type=Path, help="prompts: text, JSONL, or JSON")
    check.add_argument("second", metavar="NEXT", nargs="?", type=Path, help="next prompts, line by line")
    check.add_argument(
        "--tokenizer", help="count tokens with this model's tokenizer (name, folder or Hub id)"
    )
    check.add_argument(
        "--tokens", type=int, default=512, help="tokens that the text encoder reads (default: 512)"
    )
    for command in (switch, made, check):
        command.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run ``prompts WHAT``."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "switch": _switch,
        "set": _write_set,
        "check": _check,
    }
    return commands[args.what](args)


def _add_switch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompts", metavar="IN", type=Path, help="prompts: text, or JSONL")
    parser.add_argument("out", metavar="OUT", type=Path, help="pairs (JSONL); a second run continues it")
    parser.add_argument(
        "--endpoint", help="address of an OpenAI-compatible server, such as http://localhost:8000/v1"
    )
    parser.add_argument("--model", help="the model's name at the endpoint")
    parser.add_argument("--api-key-env", help="the environment variable that holds the key, if one is needed")
    parser.add_argument("--local", help="instead of an endpoint: folder or Hub id of a language model")
    parser.add_argument(
        "--tries", type=int, default=3, help="answers before a prompt is rejected (default: 3)"
    )
    parser.add_argument(
        "--parallel", type=int, default=1, help="requests at a time to the endpoint (default: 1)"
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds for each request (default: 120)"
    )


def _switch(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from longlive.training.data.next_scene import rejected_file, write_next_scenes
    from longlive.training.data.prompt_files import read_prompts

    check_distinct({"IN": args.prompts, "OUT": args.out})
    if args.out.parent.is_dir():
        check_destination("OUT", args.out)
    prompts = read_prompts(args.prompts)
    writer = _writer(args)
    with tqdm(total=len({*prompts}), unit="prompt", disable=None, file=sys.stderr) as bar:
        summary = write_next_scenes(
            prompts, args.out, writer, tries=args.tries, parallel=args.parallel, progress=bar.update
        )
    rejected = rejected_file(args.out)
    text = (
        f"{args.out}: {summary.written} written, {summary.done_before} done before, "
        f"{summary.rejected} rejected ({rejected}), {summary.duplicates} duplicates skipped"
    )
    result = asdict(summary) | {"out": str(args.out), "rejected_file": str(rejected)}
    print_result(result, text, as_json=args.json)
    return 0


def _writer(args: argparse.Namespace) -> "ChatModel":
    from longlive.training.data.chat_models import EndpointChat, LocalChat

    if bool(args.endpoint) == bool(args.local) or bool(args.endpoint) != bool(args.model):
        came = {name: getattr(args, name) for name in ("endpoint", "model", "local")}
        rule = "it must be either --endpoint and --model, or --local"
        raise ConfigError("the language model", came, rule, "Try --local FOLDER.")
    if args.local:
        if args.parallel != 1:
            raise ConfigError(
                "--parallel", args.parallel, "a local model answers one at a time", "Leave it out."
            )
        return LocalChat(args.local)
    key = ""
    if args.api_key_env:
        key = os.environ.get(args.api_key_env, "")
        if not key:
            raise ConfigError(
                "--api-key-env", args.api_key_env, "no such variable is set", "Set it to the key."
            )
    return EndpointChat(args.endpoint, args.model, key=key, timeout_s=args.timeout)


def _write_set(args: argparse.Namespace) -> int:
    from longlive.training.data.prompt_grammar import GRAMMAR, write_prompt_set

    check_distinct({"--grammar": args.grammar, "--out": args.out})
    check_destination("--out", args.out)
    out = free_path(args.out, args.force)
    stories = write_prompt_set(out, seed=args.seed, grammar=args.grammar or GRAMMAR)
    count = sum(len(story.prompts) for story in stories)
    result = {"out": str(out), "stories": len(stories), "prompts": count}
    print_result(result, f"{out}: {len(stories)} stories, {count} prompts", as_json=args.json)
    return 0


def _check(args: argparse.Namespace) -> int:
    from longlive.training.data.prompt_files import ROWS, read_prompt_pairs, read_prompts

    prompts = read_prompts(args.first)
    result: dict[str, Any] = {"prompts": len(prompts), "different": len({*prompts})}
    if args.second or has_suffix(args.first, *ROWS):
        pairs = read_prompt_pairs(args.first, args.second)
        result["pairs"] = len(pairs)
        prompts = [text for pair in pairs for text in (pair.prompt, pair.next_prompt)]
    if args.tokenizer:
        result["too_long"] = [text[:60] for text in _too_long(prompts, args.tokenizer, args.tokens)]
    text = ", ".join(f"{count} {name}" for name, count in result.items() if name != "too_long")
    for prompt in result.get("too_long", [])[:MAX_PRINTED]:
        text += f"\nmore than {args.tokens} tokens, the rest is not read: {prompt}…"
    print_result(result, text, as_json=args.json)
    return 0


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


COMMANDS = (Command("prompts", "write, make and check prompts for training", add_arguments, run),)
