"""Runs that begin, and runs that another process left on disk."""

import hashlib
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from longlive.chunks import SwitchMode
from longlive.config import ModelConfig
from longlive.errors import ConfigError, MediaError, SessionFileError
from longlive.generation.resume import one_per_chunk
from longlive.generation.session_file import SessionRecord
from longlive.generation.storyboard import Scene
from longlive.media.segments import Container
from longlive.prompts import check_prompt
from longlive.serving.executors.messages import Prompt
from longlive.serving.limits import Limits
from longlive.serving.observer import Observer
from longlive.serving.runs.lifecycle import BRANCHED
from longlive.serving.runs.prompt_schedule import PromptSchedule, place_scenes
from longlive.serving.runs.recording import FACT as RECORDING
from longlive.serving.runs.recording import write_recording
from longlive.serving.runs.run import Run
from longlive.serving.runs.store.run_store import RunStore
from longlive.serving.runs.store.start_file import FACT as START
from longlive.serving.runs.store.start_file import write_start
from longlive.serving.scheduler import RunStatus


def create_run(
    viewer: str,
    folder: Path,
    model: ModelConfig,
    limits: Limits,
    observer: Observer,
    *,
    seed: int,
    prompt: str,
    script: Sequence[Scene] = (),
    container: Container = "mp4",
    start: np.ndarray | None = None,
    arrived: float | None = None,
) -> Run:
    """A new run, on disk from here on; arguments as for ``Engine.start``.

    Its pictures have the size of ``model``, and its place in the queue is that of one that ``arrived`` then.

    Raises:
        PromptError: if a prompt cannot be used.
        MediaError: if the disk is full.
    """
    token = secrets.token_urlsafe(16)
    prompts = [Prompt(check_prompt(prompt)), *place_scenes(script, model)]
    facts = {"key": key_of(token), "model": model.name, "seed": seed, "container": container}
    facts |= {"scale": model.live_scale, "size": model.size}

    def fill(store: RunStore) -> None:
        store.num_bytes += 0 if start is None else start.nbytes
        store.write_prompts(prompts)

    store = _new_store(folder, facts, fill, start)
    run = Run(viewer, store, model, limits, observer, token=token)
    run.lifecycle.arrived = run.lifecycle.arrived if arrived is None else arrived
    return run


def replay_run(
    viewer: str,
    folder: Path,
    model: ModelConfig,
    limits: Limits,
    observer: Observer,
    *,
    record: SessionRecord,
    container: Container = "mp4",
    parent: Run | None = None,
) -> Run:
    """A new run that makes a recorded video again and goes on after it, on disk from here on.

    Args:
        viewer, folder, model, limits, observer, container: as for ``create_run``.
        record: of the video, by the same model at the same size; see ``check_record``.
        parent: the run that it is a record of, if that is kept.

    Raises:
        MediaError: if the disk is full.
    """
    token = secrets.token_urlsafe(16)
    first, *later = one_per_chunk(record.prompts)
    prompts = PromptSchedule([Prompt(first.text)])
    for event in later:
        prompts.add(Prompt(event.text, event.switch or model.switch, event.chunk, scripted=True))
    facts = {"key": key_of(token), "model": model.name, "seed": record.seed, "container": container}
    facts |= {"scale": model.live_scale, "size": model.size, RECORDING: True} | (
        {"parent": {"run": parent.name, "chunk": 0}} if parent else {}
    )

    def fill(store: RunStore) -> None:
        store.num_bytes += write_recording(folder, replace(record, prompts=(first, *later)))
        store.write_prompts(tuple(prompts))

    return Run(viewer, _new_store(folder, facts, fill), model, limits, observer, token=token)


def branch_run(
    viewer: str,
    folder: Path,
    model: ModelConfig,
    limits: Limits,
    observer: Observer,
    *,
    parent: Run,
    chunk: int,
    prompt: str = "",
    switch: SwitchMode = "soft",
    seed: int | None = None,
    length: int | None = None,
) -> Run:
    """A new run that goes on after the first ``chunk`` chunks of another one, on disk from here on.

    Args:
        viewer, folder, limits, observer: as for ``create_run``.
        model: that of ``parent``, at its size.
        parent: stays as it is.
        chunk: the first that is made anew.
        prompt, switch: it goes on with; without a prompt, with the one in use there.
        seed: of the noise from there on; None: the same as before.
        length: chunks from there on, made as fast as they can be; None: until it is stopped, paced by its
            player.

    Raises:
        PromptError: if the prompt cannot be used.
        ConfigError: if there is no such chunk to begin with.
        SessionFileError: if the chunks before it cannot be read (any more).
        MediaError: if the disk is full.
    """
    available = parent.store.num_chunks
    if not 1 <= chunk <= available:
        rule = f"that video has {available} chunks, and a branch begins at one from 1 to {available}"
        raise ConfigError("chunk", chunk, rule, "Choose one of them.")
    token = secrets.token_urlsafe(16)
    prompts = [Prompt(check_prompt(prompt), switch, chunk)] if prompt.strip() else []
    asked = {name: value for name, value in parent.store.facts.items() if name not in (START, RECORDING)}
    facts = asked | {"key": key_of(token), "model": model.name}
    facts |= {"parent": {"run": parent.name, "chunk": chunk}}
    store = _new_store(folder, facts, lambda store: _copy_chunks(store, parent.store, chunk, seed))
    store.write_prompts(prompts)
    if length is not None:
        cut = bool(prompts) and switch == "hard"
        limits = limits.for_clip((store.num_frames + _num_frames(model, length, cut=cut)) / model.fps)
    run = Run(viewer, store, model, limits, observer, token=token)
    run.lifecycle.interruption = BRANCHED
    _go_on(run)
    return run


def load_run(store: RunStore, model: ModelConfig, limits: Limits, observer: Observer) -> Run:
    """A run that another process left on disk; it is suspended. ``model`` is of any of its sizes.

    Raises:
        KeyError, TypeError, ValueError: if its facts are not those of a run of this model.
    """
    size = store.facts.get("size")  # before there was a choice, it was the model's own
    model = model.at(size and tuple(size))
    run = Run("", store, model, limits, observer, token="", status=RunStatus.SUSPENDED)
    run.lifecycle.interruption = "the app was restarted"
    _go_on(run)
    return run


def _num_frames(model: ModelConfig, num_chunks: int, *, cut: bool) -> int:
    """Pictures of chunks in mid-video; a cut at the first one shortens it."""
    first = model.num_frames(model.chunk) if cut else model.chunk * model.temporal_scale
    return first + (num_chunks - 1) * model.chunk * model.temporal_scale


def _new_store(
    folder: Path,
    facts: dict[str, Any],
    fill: Callable[[RunStore], None],
    start: np.ndarray | None = None,
) -> RunStore:
    """The store of a new run, with what it begins with."""
    try:
        folder.mkdir(mode=0o700)
        facts |= write_start(folder, start)
        store = RunStore(folder, facts)
        fill(store)
    except (ConfigError, SessionFileError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except (OSError, MediaError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        why = error.strerror if isinstance(error, OSError) else error
        raise MediaError(f"No video can be stored here now ({why}). Please try again later.") from error
    return store


def _copy_chunks(store: RunStore, other: RunStore, num_chunks: int, seed: int | None) -> None:
    """Begin a store with the first chunks of another one; what follows is made with ``seed``, if given.

    Raises:
        SessionFileError: if these are not all stored.
        ConfigError: for a seed that is none.
        MediaError: as for ``RunStore.add``.
    """
    for segments, checkpoint in other.checkpoints(num_chunks):
        store.add(segments, replace(checkpoint, record=checkpoint.record.branch(num_chunks, seed)))


def _go_on(run: Run) -> None:
    """The viewer of a run that has chunks stands where they end."""
    run.presence.clock.seek(run.end_s, False)
    for span in run.store.chunks.spans():
        run.prompts.extend_span(*span)


def key_of(token: str) -> str:
    """What of a token may lie on disk, and is compared: its SHA-256, in hex."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
