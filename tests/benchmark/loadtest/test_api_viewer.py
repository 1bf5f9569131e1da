"""A viewer that is a viewer, before an app that plays what the test says."""

import base64
import json
import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from longlive.benchmark.loadtest.api_viewer import STOP_TIMEOUT_S, ApiViewer
from longlive.benchmark.loadtest.assignments import profile
from longlive.benchmark.loadtest.viewer_log import Behaviour, QueueUpdate, SentPrompt

OWN = profile(1)
DATA = base64.b64encode(b"H.264").decode()


class Answer:
    """A job of gradio_client whose outputs the test gives."""

    def __init__(self) -> None:
        self.communicator = SimpleNamespace(job=SimpleNamespace(outputs=[]), updates=queue.Queue())
        self.is_done, self.error = False, None
        self.is_cancelled = False

    def done(self) -> bool:
        return self.is_done

    def exception(self) -> Exception | None:
        return self.error

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class App:
    """What a viewer knows of the app, and the app's answers."""

    asked: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    replayed: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[Answer] = field(default_factory=list)
    accepts: bool = True
    config = {
        "components": [
            {"id": 3, "props": {"elem_id": "workspace"}},
            {"id": 8, "props": {"elem_id": "player"}},
        ]
    }
    src_prefixed, session_hash = "http://app/gradio_api/", "session"

    def submit(self, *values: Any, api_name: str) -> Answer:
        self.asked.append((api_name, values))
        self.jobs.append(Answer())
        return self.jobs[-1]

    def close(self) -> None:
        self.asked.append(("close", ()))

    def answer(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        assert (asked["component_id"], asked["session_hash"]) == (8, "session")
        self.reports.append({"fn_name": asked["fn_name"]} | asked["data"])
        return httpx.Response(200, json=self.replayed if asked["fn_name"] == "replay_since" else self.accepts)

    def send(self, serial: int, kind: str, text: str = "", **fields: Any) -> dict[str, Any]:
        """Put a message on the stream."""
        message = {"number": 1, "serial": serial, "token": "token", "kind": kind} | fields
        self.jobs[0].communicator.job.outputs.append((message, {}, text, None, None))
        return message


class AtOnce(ThreadPoolExecutor):
    """A pool whose work is done when it was given."""

    def submit(self, *call: Any, **options: Any) -> Any:
        done = super().submit(*call, **options)
        done.exception()
        return done


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def viewer(app: App):
    behaviour = Behaviour(seconds=6.0, first_switch=1.0, switch_every=2.0, read_every=2)
    with AtOnce(1) as pool, httpx.Client(transport=httpx.MockTransport(app.answer)) as http:
        yield ApiViewer(app, OWN, behaviour, pool, http)


def segment(number: int, turn: int = 0) -> dict[str, Any]:
    return {"first_frame": 16 * number, "num_frames": 16, "fps": 16, "prompt": OWN.prompt(turn), "data": DATA}


def test_it_starts_with_its_profile_and_plays_what_comes(app: App, viewer: ApiViewer) -> None:
    viewer.step(1.0)
    assert app.asked == []
    viewer.start(2.0)
    assert app.asked == [("/start", (OWN.prompt(0), OWN.number, []))]
    app.send(1, "begin")
    viewer.step(2.1)
    app.send(2, "segment", **segment(0))
    app.send(3, "segment", **segment(1))
    viewer.step(3.0)
    assert [(one.at, one.first_frame, one.data) for one in viewer.log.arrivals] == [
        (3.0, 0, b"H.264"),
        (3.0, 16, b""),
    ]
    assert viewer.log.first_at == 3.0 and viewer.player.seconds(3.5) == 0.5
    assert not app.jobs[0].communicator.job.outputs[0], "what was taken is not kept"


def test_the_playhead_is_reported_each_quarter_of_a_second_and_at_each_change(
    app: App, viewer: ApiViewer
) -> None:
    viewer.start(0.0)
    app.send(1, "begin")
    for at in (0.0, 0.1, 0.2, 0.3):
        viewer.step(at)
    assert [(report["seconds"], report["playing"]) for report in app.reports] == [(0.0, False)] * 2
    app.send(2, "segment", **segment(0))
    viewer.step(0.4)
    viewer.step(0.5)
    viewer.step(1.5)
    assert app.reports[2:] == [
        {"fn_name": "playhead", "token": "token", "seconds": 0.0, "playing": True, "stalls": 0},
        {"fn_name": "playhead", "token": "token", "seconds": 1.0, "playing": False, "stalls": 0},
    ]
    assert len(viewer.log.playhead_latencies_s) == 4 and viewer.log.rejected_playheads == 0
    app.accepts = False
    viewer.step(2.0)
    assert viewer.log.rejected_playheads == 1 and app.reports[-1]["stalls"] == 1


def test_prompts_are_sent_when_due_and_refusals_are_kept(app: App, viewer: ApiViewer) -> None:
    viewer.start(0.0)
    app.send(1, "segment", **segment(0))
    for at in (10.0, 10.9, 11.0, 12.9, 13.0):
        viewer.step(at)
    assert viewer.log.sent == [SentPrompt(11.0, 1, OWN.prompt(1)), SentPrompt(13.0, 2, OWN.prompt(2))]
    assert app.asked[1:] == [("/prompt", (OWN.prompt(turn), "soft")) for turn in (1, 2)]
    app.jobs[1].is_done, app.jobs[1].error = True, ValueError("Too many prompts.")
    viewer.step(15.5)
    assert viewer.log.refusals == ["Too many prompts."]
    assert len(viewer.log.sent) == 2, "none is sent so late that it cannot be seen"


def test_a_queue_position_is_logged_with_the_longest_wait(app: App, viewer: ApiViewer) -> None:
    viewer.start(0.0)
    app.send(1, "begin")
    app.send(2, "queue", position=2, wait_s=40)
    viewer.step(1.0)
    app.send(3, "queue", position=1)
    app.send(4, "notice", "It starts soon.")
    viewer.step(20.0)
    assert viewer.log.queue_updates == [QueueUpdate(1.0, 2, 40.0), QueueUpdate(20.0, 1, None)]
    assert viewer.log.notices == ["It starts soon."] and viewer.log.first_at is None
    assert not any(api == "/stop" for api, _ in app.asked), "it watches from its first picture on"


def test_missing_messages_are_asked_for_and_handled_in_order(app: App, viewer: ApiViewer) -> None:
    viewer.start(0.0)
    app.send(1, "begin")
    app.replayed = [app.send(2, "segment", **segment(0)), app.send(3, "segment", **segment(1))]
    del app.jobs[0].communicator.job.outputs[1:]
    app.send(4, "segment", **segment(2))
    app.send(4, "segment", **segment(2))
    viewer.step(1.0)
    viewer.step(1.1)
    assert {"fn_name": "replay_since", "token": "token", "after": 1, "before": 4} in app.reports
    assert [one.first_frame for one in viewer.log.arrivals] == [0, 16, 32]
    assert viewer.log.replayed == 2


def test_it_stops_after_its_time_and_is_over_when_the_run_has_ended(app: App, viewer: ApiViewer) -> None:
    viewer.start(0.0)
    app.send(1, "segment", **segment(0))
    viewer.step(1.0)
    viewer.step(7.0)
    assert app.asked[-1] == ("/stop", ()) and not viewer.is_over
    app.accepts = False
    viewer.step(7.4)
    assert app.reports[-1]["seconds"] == 1.0 and viewer.log.rejected_playheads == 0, (
        "after Stop the run may be gone"
    )
    assert app.reports[-1]["stalls"] == 1, "nor does it stall"
    app.send(2, "segment", **segment(1))
    app.send(3, "end", "Stopped.", failed=False)
    viewer.step(7.5)
    assert viewer.is_over and not viewer.log.has_failed and viewer.log.end == "Stopped."
    assert len(viewer.log.arrivals) == 1, "what comes after Stop is nobody's"
    viewer.close()
    assert app.asked[-1] == ("close", ())


def test_an_end_that_the_viewer_did_not_ask_for_is_a_failure(app: App, viewer: ApiViewer) -> None:
    viewer.start(0.0)
    app.send(1, "end", "No player was active for 120 s.", failed=False)
    viewer.step(1.0)
    assert viewer.is_over and viewer.log.has_failed


@pytest.mark.parametrize(
    "error, reason", [(ValueError("The queue is full."), "queue is full"), (None, "without a last message")]
)
def test_a_stream_that_breaks_is_a_failure_with_its_reason(
    app: App, viewer: ApiViewer, error, reason
) -> None:
    viewer.start(0.0)
    app.jobs[0].is_done, app.jobs[0].error = True, error
    viewer.step(1.0)
    assert viewer.is_over and viewer.log.has_failed and reason in viewer.log.end


def test_a_run_that_does_not_stop_is_a_failure_after_a_timeout(app: App, viewer: ApiViewer) -> None:
    viewer.start(0.0)
    app.send(1, "segment", **segment(0))
    viewer.step(1.0)
    viewer.step(7.0)
    viewer.step(7.0 + STOP_TIMEOUT_S)
    assert not viewer.is_over
    viewer.step(7.1 + STOP_TIMEOUT_S)
    assert viewer.log.has_failed and "of Stop" in viewer.log.end
    viewer.close()
    assert app.jobs[0].is_cancelled
