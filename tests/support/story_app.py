"""The real engine over ZeroGPU with the storybook model, and a page that is nothing but calls."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import spaces  # noqa: F401  (first, as in app.py)

from longlive.runtime.startup import RuntimeOptions
from longlive.serving.engine import Engine
from longlive.serving.executors import zerogpu
from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.limits import Limits
from longlive.serving.runs.events import RunEvent, RunFinished, RunStarted
from longlive.serving.runs.run import Run
from tests.support.run_reader import run_of

# The tests have no time for leases of the usual length.
LEASE_S = 5.0
zerogpu.MIN_LEASE_S, zerogpu.QUOTA_MARGIN_S, zerogpu.TRANSFER_S = 2.0, 1.0, 0.5
executor = zerogpu.open_executor(
    "storybook", RuntimeOptions(device="cuda", dtype="float32"), print, lease_s=LEASE_S
)
engine = Engine(executor, limits=Limits(disconnect_timeout_s=1.0), resume="exact")


def as_json(event: RunEvent) -> dict[str, Any]:
    """An event as a viewer gets it."""
    match event:
        case SegmentEvent(segment):
            return {"chunk": segment.index, "ends": segment.ends_chunk, "prompt": segment.prompt}
        case NoticeEvent(code):
            return {"notice": code}
        case RunFinished():
            files = {"take": str(event.video), "session": str(event.session_file)}
            return {"finished": event.reason, "failed": event.failure.detail if event.failure else ""} | files
    return {"event": str(event)}


def tell(viewer: str, prompt: str, seed: int, buffer_ahead_s: float) -> Iterator[str]:
    """Make a video to its end; how far ahead of its viewer, -1 for as fast as it can be made."""
    limits = replace(engine.limits, buffer_ahead_s=buffer_ahead_s if buffer_ahead_s >= 0 else math.inf)
    run = engine.start(viewer, prompt, seed=seed, limits=limits)
    yield json.dumps({"token": run.token})
    cursor = 0
    while True:
        run.presence.follow()
        for number, event in run.events.since(cursor, timeout=0.2):
            cursor = number
            if not isinstance(event, RunStarted):
                yield json.dumps(as_json(event))
            if isinstance(event, RunFinished):
                return


def find(viewer: str) -> Run:
    """The viewer's run."""
    run = run_of(engine, viewer)
    assert run is not None, viewer
    return run


def send(viewer: str, text: str) -> int:
    """Send a prompt; the chunk that it is scheduled for."""
    return find(viewer).prompt(text).chunk


def play(viewer: str, seconds: float, playing: bool) -> bool:
    """The player's report."""
    return engine.playhead(find(viewer).token, seconds, playing)


def stop(viewer: str) -> str:
    """End the video."""
    find(viewer).stop("user")
    return ""


with gr.Blocks() as page:
    gr.api(tell, api_name="tell", concurrency_limit=None)
    for call in (send, play, stop):
        gr.api(call, api_name=call.__name__, concurrency_limit=None)
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]))
