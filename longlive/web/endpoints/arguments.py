"""What callers send, read and checked, and how errors are shown to them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from longlive.chunks import SWITCH_MODES, SwitchMode
from longlive.config import ModelConfig, parse_size
from longlive.errors import ConfigError, LongLiveError
from longlive.generation.noise import MAX_SEED, check_seed
from longlive.generation.storyboard import Scene, check_distinct, read_scenes
from longlive.prompts import check_prompt
from longlive.serving.executors.executor import Executor
from longlive.serving.served_models import ServedModels

MAX_CLIP_S = 60
MAX_ERROR_CHARACTERS = 500
MAX_NAME_CHARACTERS = 200


@contextmanager
def shown_errors() -> Iterator[None]:
    """Turn our errors into gr.Error, which the page shows."""
    try:
        yield
    except LongLiveError as error:
        raise gr.Error(shortened(error), print_exception=False) from error


def shortened(error: Exception) -> str:
    """The message of an error, at most ``MAX_ERROR_CHARACTERS`` of it."""
    text = str(error)
    return text if len(text) <= MAX_ERROR_CHARACTERS else f"{text[:MAX_ERROR_CHARACTERS]}…"


def read_length(seconds: Any) -> float:
    """The length of a clip in seconds, above 0 and at most ``MAX_CLIP_S``; ConfigError otherwise."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_CLIP_S:
        rule = f"it must be a number of seconds above 0 and at most {MAX_CLIP_S}"
        raise ConfigError("seconds", seconds, rule, "Try 10.")
    return float(seconds)


def read_seed(seed: float | None) -> int:
    """The seed, a random one for None; ConfigError for what is none."""
    if seed is None:
        return secrets.randbelow(1_000_000)
    is_whole = isinstance(seed, float) and seed.is_integer() and abs(seed) <= MAX_SEED
    return check_seed(int(seed) if is_whole else seed)  # type: ignore[arg-type]


def read_chunk(chunk: Any) -> int:
    """The number of a chunk; ConfigError for what is no whole number from 0 on."""
    is_number = isinstance(chunk, int | float) and not isinstance(chunk, bool)
    if not is_number or chunk != chunk or not 0 <= chunk < 2**31 or chunk != int(chunk):
        raise ConfigError("chunk", chunk, "it must be a whole number", "Try 1.")
    return int(chunk)


def read_model(name: Any, models: ServedModels) -> Executor:
    """The executor of the model of this name, of the first one for none; ConfigError if there is none."""
    return models.find(None if name is None else str(name)[:MAX_NAME_CHARACTERS])


def read_size(size: Any, model: ModelConfig) -> ModelConfig:
    """A model's config at a size such as ``480x832``, at its own for none; ConfigError for any other."""
    return model if size in (None, "") else model.at(parse_size(str(size)))


def read_prompts(prompt: str, later: Any) -> list[Scene]:
    """The prompt to begin with and those to come, cleaned: here, and nowhere after."""
    if later is not None and not isinstance(later, list):
        raise ConfigError("later", later, "it must be a list of prompts to come", "Leave it out, or try [].")
    scenes = read_scenes([{"at": 0, "text": check_prompt(prompt)}, *(later or [])])
    check_distinct(scenes)
    return scenes


def read_switch(switch: str) -> SwitchMode:
    """One of ``SWITCH_MODES``; ConfigError otherwise."""
    if switch not in SWITCH_MODES:
        raise ConfigError(
            "switch", switch, f"it must be one of {', '.join(SWITCH_MODES)}", "Choose one of them."
        )
    return switch  # type: ignore[return-value]
