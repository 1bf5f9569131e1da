"""A viewer that is a program, before an app that plays what the test says."""

import base64
import json
import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from longlive.benchmark.loadtest.api_viewer import PATIENCE_S, ApiViewer, Behaviour, QueueUpdate, Sent
from longlive.benchmark.loadtest.assignments import profile

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
    """What a program knows of the app, and the app's answers."""

    asked: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    words: list[dict[str, Any]] = field(default_factory=list)
    missed: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[Answer] = field(default_factory=list)
    heeds: bool = True
    config = {
        "components": [{"id": 3, "props": {"elem_id": "desk"}}, {"id": 8, "props": {"elem_id": "player"}}]
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
        self.words.append({"fn_name": asked["fn_name"]} | asked["data"])
        return httpx.Response(200, json=self.missed if asked["fn_name"] == "replay_since" else self.heeds)

    def say(self, serial: int, kind: str, words: str = "", **fields: Any) -> dict[str, Any]:
        """Put a message on the stream."""
        message = {"number": 1, "serial": serial, "token": "token", "kind": kind} | fields
        self.jobs[0].communicator.job.outputs.append((message, {}, words, None, None))
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
def program(app: App):
    habits = Behaviour(seconds=6.0, first_switch=1.0, switch_every=2.0, read_every=2)
    with AtOnce(1) as pool, httpx.Client(transport=httpx.MockTransport(app.answer)) as http:
        yield ApiViewer(app, OWN, habits, pool, http)


def segment(number: int, turn: int = 0) -> dict[str, Any]:
    return {"first_frame": 16 * number, "num_frames": 16, "fps": 16, "prompt": OWN.prompt(turn), "data": DATA}


def test_it_starts_with_its_role_and_plays_what_comes(app: App, program: ApiViewer) -> None:
    program.step(1.0)
    assert app.asked == []
    program.start(2.0)
    assert app.asked == [("/start", (OWN.prompt(0), OWN.number, []))]
    app.say(1, "begin")
    program.step(2.1)
    app.say(2, "segment", **segment(0))
    app.say(3, "segment", **segment(1))
    program.step(3.0)
    assert [(one.at, one.first_frame, one.data) for one in program.log.arrivals] == [
        (3.0, 0, b"H.264"),
        (3.0, 16, b""),
    ]
    assert program.log.first_at == 3.0 and program.player.seconds(3.5) == 0.5
    assert not app.jobs[0].communicator.job.outputs[0], "what was taken is not kept"


def test_the_playhead_is_told_each_quarter_of_a_second_and_at_each_change(
    app: App, program: ApiViewer
) -> None:
    program.start(0.0)
    app.say(1, "begin")
    for at in (0.0, 0.1, 0.2, 0.3):
        program.step(at)
    assert [(word["seconds"], word["playing"]) for word in app.words] == [(0.0, False)] * 2
    app.say(2, "segment", **segment(0))
    program.step(0.4)
    program.step(0.5)
    program.step(1.5)
    assert app.words[2:] == [
        {"fn_name": "playhead", "token": "token", "seconds": 0.0, "playing": True, "stalls": 0},
        {"fn_name": "playhead", "token": "token", "seconds": 1.0, "playing": False, "stalls": 0},
    ]
    assert len(program.log.answers_s) == 4 and program.log.unheard == 0
    app.heeds = False
    program.step(2.0)
    assert program.log.unheard == 1 and app.words[-1]["stalls"] == 1


def test_prompts_are_sent_when_due_and_refusals_are_kept(app: App, program: ApiViewer) -> None:
    program.start(0.0)
    app.say(1, "segment", **segment(0))
    for at in (10.0, 10.9, 11.0, 12.9, 13.0):
        program.step(at)
    assert program.log.sent == [Sent(11.0, 1, OWN.prompt(1)), Sent(13.0, 2, OWN.prompt(2))]
    assert app.asked[1:] == [("/prompt", (OWN.prompt(turn), "soft")) for turn in (1, 2)]
    app.jobs[1].is_done, app.jobs[1].error = True, ValueError("Too many prompts.")
    program.step(15.5)
    assert program.log.refused == ["Too many prompts."]
    assert len(program.log.sent) == 2, "none is sent so late that it cannot be seen"


def test_a_place_in_line_is_noted_with_what_was_promised(app: App, program: ApiViewer) -> None:
    program.start(0.0)
    app.say(1, "begin")
    app.say(2, "line", position=2, wait_s=40)
    program.step(1.0)
    app.say(3, "line", position=1)
    app.say(4, "notice", "It starts soon.")
    program.step(20.0)
    assert program.log.told == [QueueUpdate(1.0, 2, 40.0), QueueUpdate(20.0, 1, None)]
    assert program.log.notices == ["It starts soon."] and program.log.first_at is None
    assert not any(api == "/stop" for api, _ in app.asked), "it watches from its first picture on"


def test_messages_that_did_not_come_are_asked_for_and_taken_in_order(app: App, program: ApiViewer) -> None:
    program.start(0.0)
    app.say(1, "begin")
    app.missed = [app.say(2, "segment", **segment(0)), app.say(3, "segment", **segment(1))]
    del app.jobs[0].communicator.job.outputs[1:]
    app.say(4, "segment", **segment(2))
    app.say(4, "segment", **segment(2))
    program.step(1.0)
    program.step(1.1)
    assert {"fn_name": "replay_since", "token": "token", "after": 1, "before": 4} in app.words
    assert [one.first_frame for one in program.log.arrivals] == [0, 16, 32]
    assert program.log.asked_again == 2


def test_it_stops_when_it_has_seen_enough_and_is_over_when_that_is_answered(
    app: App, program: ApiViewer
) -> None:
    program.start(0.0)
    app.say(1, "segment", **segment(0))
    program.step(1.0)
    program.step(7.0)
    assert app.asked[-1] == ("/stop", ()) and not program.is_over
    app.heeds = False
    program.step(7.4)
    assert app.words[-1]["seconds"] == 1.0 and program.log.unheard == 0, "after Stop there may be no story"
    assert app.words[-1]["stalls"] == 1, "nor does it stall"
    app.say(2, "segment", **segment(1))
    app.say(3, "end", "The story has ended.", failed=False)
    program.step(7.5)
    assert program.is_over and not program.log.has_failed and program.log.end == "The story has ended."
    assert len(program.log.arrivals) == 1, "what comes after Stop is nobody's"
    program.close()
    assert app.asked[-1] == ("close", ())


def test_an_end_that_nobody_asked_for_is_a_failure(app: App, program: ApiViewer) -> None:
    program.start(0.0)
    app.say(1, "end", "No player has spoken for 120 s.", failed=False)
    program.step(1.0)
    assert program.is_over and program.log.has_failed


@pytest.mark.parametrize(
    "error, words", [(ValueError("The line is full."), "line is full"), (None, "without a word")]
)
def test_a_stream_that_breaks_is_a_failure_in_words(app: App, program: ApiViewer, error, words) -> None:
    program.start(0.0)
    app.jobs[0].is_done, app.jobs[0].error = True, error
    program.step(1.0)
    assert program.is_over and program.log.has_failed and words in program.log.end


def test_who_is_not_let_go_is_a_failure_after_some_patience(app: App, program: ApiViewer) -> None:
    program.start(0.0)
    app.say(1, "segment", **segment(0))
    program.step(1.0)
    program.step(7.0)
    program.step(7.0 + PATIENCE_S)
    assert not program.is_over
    program.step(7.1 + PATIENCE_S)
    assert program.log.has_failed and "of Stop" in program.log.end
    program.close()
    assert app.jobs[0].is_cancelled
