"""Runs that begin, and runs that another process left on disk."""

import bisect
import hashlib
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from longlive.config import ModelConfig
from longlive.errors import MediaError
from longlive.generation.storyboard import Scene
from longlive.media.segments import Container
from longlive.prompts import check_prompt
from longlive.serving.executors.messages import Prompt
from longlive.serving.limits import Limits
from longlive.serving.observer import Observer
from longlive.serving.runs.prompt_schedule import PromptSchedule
from longlive.serving.runs.run import Run
from longlive.serving.runs.run_store import RunStore
from longlive.serving.scheduler import RunStatus

_CHUNKS = range(1, 2**20)  # more than any video has


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
) -> Run:
    """A new run, on disk from here on.

    Raises:
        PromptError: if a prompt cannot be used.
        MediaError: if the disk is full.
    """
    token = secrets.token_urlsafe(16)
    prompts = PromptSchedule([Prompt(check_prompt(prompt))])
    for scene in script:
        chunk = bisect.bisect_left(_CHUNKS, scene.at, key=model.chunk_start_s) + 1
        prompts.add(Prompt(check_prompt(scene.text), scene.switch or model.switch, chunk, scripted=True))
    facts = {"key": key_of(token), "seed": seed, "container": container, "scale": model.live_scale}
    try:
        folder.mkdir(mode=0o700)
        store = RunStore(folder, facts)
        store.write_prompts(tuple(prompts))
    except (OSError, MediaError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        why = error.strerror if isinstance(error, OSError) else error
        raise MediaError(f"No video can be stored here now ({why}). Please try again later.") from error
    return Run(viewer, store, model, limits, observer, token=token)


def load_run(store: RunStore, model: ModelConfig, limits: Limits, observer: Observer) -> Run:
    """A run that another process left on disk; it is suspended.

    Raises:
        KeyError, TypeError, ValueError: if its facts are not those of a run.
    """
    run = Run("", store, model, limits, observer, token="", status=RunStatus.SUSPENDED)
    run.lifecycle.interruption = "the app was restarted"
    run.presence.clock.seek(run.end_s, False)
    for span in store.chunks.spans():
        run.prompts.extend_span(*span)
    return run


def key_of(token: str) -> str:
    """What of a token may lie on disk, and is compared: its SHA-256, in hex."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
