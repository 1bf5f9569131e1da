"""The real engine over ZeroGPU, and a page that is nothing but calls; each tells a story of storybook."""

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import spaces  # noqa: F401  (first, as in app.py)

from longlive.runtime.startup import RuntimeOptions
from longlive.serving.engine import Engine
from longlive.serving.events import RunFinished
from longlive.serving.executors import zerogpu
from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.limits import Limits
from longlive.serving.run import Run

LEASE_S = 10.0

zerogpu.LEAST_S = 3.0  # the tests have no time for leases of the usual length
carrier = zerogpu.open_executor(
    "storybook", RuntimeOptions(device="cuda", dtype="float32"), print, lease_s=LEASE_S
)
engine = Engine(carrier, limits=Limits(away_s=1.0), resume="exact")


def told(word: Any) -> dict[str, Any]:
    """What a viewer is told, as JSON has it."""
    match word:
        case SegmentEvent(segment):
            return {"chunk": segment.index, "ends": segment.ends_chunk, "prompt": segment.prompt}
        case NoticeEvent(words):
            return {"notice": words}
        case RunFinished():
            files = {"take": str(word.take), "session": str(word.session_file)}
            return {"finished": word.reason, "failed": word.failed} | files
    return {"words": str(word)}


def tell(viewer: str, prompt: str, seed: int, ahead_s: float) -> Iterator[str]:
    """Tell a story to the end; how far ahead of its viewer, -1 for as fast as it can be made."""
    limits = replace(engine.limits, ahead_s=ahead_s if ahead_s >= 0 else math.inf)
    run = engine.start(viewer, prompt, seed=seed, limits=limits)
    yield json.dumps({"token": run.token})
    while True:
        word = run.next_report()
        if word is None:
            time.sleep(0.01)
            continue
        yield json.dumps(told(word))
        if isinstance(word, RunFinished):
            return


def run_of(viewer: str) -> Run:
    """The viewer's run."""
    run = engine.run_of(viewer)
    assert run is not None, viewer
    return run


def send(viewer: str, text: str) -> int:
    """Send a prompt; the chunk that it is promised for."""
    return run_of(viewer).prompt(text).chunk


def play(viewer: str, seconds: float, playing: bool) -> bool:
    """The player's word."""
    return engine.playhead(run_of(viewer).token, seconds, playing)


def stop(viewer: str) -> str:
    """End the story."""
    run_of(viewer).stop("Stopped.")
    return ""


with gr.Blocks() as page:
    gr.api(tell, api_name="tell", concurrency_limit=None)
    for call in (send, play, stop):
        gr.api(call, api_name=call.__name__, concurrency_limit=None)
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]))
