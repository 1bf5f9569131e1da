"""Faults that come over the network, and what is promised all the same; see longlive/web/README.md."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from gradio_client.utils import apply_diff

from longlive import run as run_module
from longlive.web import backlog
from tests.fakes import FakeModels, Served, serve_page
from tests.test_engine import JUMP, MEADOW, wait_for
from tests.test_metrics import figures
from tests.web.test_endpoints import _call_component as call_component
from tests.web.test_endpoints import cards_of


@pytest.fixture
def served() -> Iterator[Served]:
    with serve_page(FakeModels(), away_s=1, grace_s=1, ahead_s=99) as page:
        yield page


def join(served: Served, session: str, prompt: str = MEADOW) -> None:
    """Ask for a story, as the page does, and do not look at it."""
    number = next(one for one, fn in served.page.fns.items() if fn.api_name == "start")
    asked = {"data": [prompt, 7, []], "fn_index": number, "session_hash": session}
    httpx.post(f"{served.url}gradio_api/queue/join", json=asked).raise_for_status()


def call(served: Served) -> None:
    """Ask for a story, as a program does, and do not look at it."""
    httpx.post(f"{served.url}gradio_api/call/start", json={"data": [MEADOW, 7, []]}).raise_for_status()


def unread(served: Served) -> list[int]:
    """How many messages lie in Gradio's queues."""
    return [queue.qsize() for queue in served.page._queue.pending_messages_per_session.values()]


def kept(served: Served) -> int:
    """How many visits the page remembers."""
    endpoints = served.engine.when_forgotten.__self__
    return len(endpoints._visits) + len(endpoints._viewers)


@pytest.mark.parametrize("way", ["join", "call"])
def test_a_stream_that_nobody_opens_is_given_up_and_nothing_of_it_stays(served, monkeypatch, way) -> None:
    monkeypatch.setattr(backlog, "MOST_UNREAD", 8)
    if way == "join":
        join(served, "nobody")
    else:
        call(served)
    wait_for(lambda: served.engine.count("resting") == 1)
    assert max(unread(served)) <= 8 + 2
    served.wait_until_empty()
    wait_for(lambda: sum(unread(served)) <= 1 and not kept(served))
    wait_for(lambda: not served.page.app.iterators)


class Stream:
    """A reader of Server-Sent Events who decides when to read; little is kept for it on the way."""

    def __init__(self, served: Served, session: str) -> None:
        there = urlsplit(served.url)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((there.hostname, there.port))
        path = f"/gradio_api/queue/data?session_hash={session}"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {there.netloc}\r\n\r\n".encode())
        self._file = self._socket.makefile("rb")
        self._value: Any = None

    def read(self) -> dict[str, Any]:
        """The next message to the player."""
        while line := self._file.readline():
            if not line.startswith(b"data:"):
                continue
            message = json.loads(line[5:])
            if message["msg"] == "process_generating":
                value = message["output"]["data"][0]
                self._value = value if isinstance(value, dict) else apply_diff(self._value, value)
                return self._value
        raise EOFError

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def frames(messages: list[dict[str, Any]]) -> list[int]:
    """The first picture of each segment."""
    return [one["first_frame"] for one in messages if one["kind"] == "segment"]


def test_a_slow_client_gets_what_is_kept_in_order_and_what_is_lost_is_counted(monkeypatch) -> None:
    monkeypatch.setattr(backlog, "MOST_UNREAD", 8)
    monkeypatch.setattr(run_module, "KEPT_REPORTS", 8)
    with serve_page(FakeModels(), away_s=1, unwatched_s=60, ahead_s=999) as served:
        for listener in served.page.server.servers[0].sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # little is kept on the way
        join(served, "slow")
        slow = Stream(served, "slow")
        got = []
        for _ in range(3):
            got.append(slow.read())
            time.sleep(1)
        run = served.engine.run_of("slow")
        wait_for(lambda: run.num_dropped > 5 and run.state == "resting", timeout=60)
        assert max(unread(served)) <= 8 + 2 and len(run._words) <= 8
        quick = Client(served.url, verbose=False)
        job = iter(quick.submit(JUMP, 7, [], api_name="/start"))
        assert frames([next(job)[0] for _ in range(6)]) == [0, 1, 9, 21, 33], "the others do not notice"
        quick.predict(api_name="/stop")
        quick.close()
        made = run.num_chunks
        while not frames(got) or frames(got)[-1] < 9 + 12 * made:
            got.append(slow.read())
        assert frames(got) == sorted(set(frames(got))), "in order, and nothing twice"
        run.stop("Stopped.")
        while got[-1]["kind"] != "end":
            got.append(slow.read())
        slow.close()
        assert figures(served.engine.metrics)["longlive_dropped_messages_total"] == run.num_dropped
        assert run.num_chunks + 1 - len(frames(got)) == run.num_dropped


def test_a_stranger_moves_nothing_of_another_s_story(served: Served) -> None:
    ada, eve = (Client(served.url, verbose=False) for _ in range(2))
    jobs = {one: one.submit(MEADOW, 7, [], api_name="/start") for one in (ada, eve)}
    tokens = {one: next(iter(job))[0]["token"] for one, job in jobs.items()}
    run = served.engine.find(tokens[ada])
    assert run is not None
    for token in (
        run.name,
        run.key,
        ada.session_hash,
        tokens[ada][:-1],
        tokens[ada] + "a",
        tokens[ada].swapcase(),
    ):
        with pytest.raises(AppError, match="no longer kept"):
            eve.predict(token, 0, api_name="/resume")
        word = {"token": token, "seconds": 99.0, "playing": True, "stalls": 9}
        assert call_component(served, eve, "playhead", word) is False
        assert call_component(served, eve, "missed", {"token": token, "after": 0, "before": 9}) == []
        assert call_component(served, eve, "known", {"token": token}) is False
    eve.predict(JUMP, "hard", api_name="/prompt")
    eve.predict(api_name="/stop")
    with pytest.raises(AppError, match="Press Start first"):
        eve.predict(JUMP, "hard", api_name="/prompt")
    assert run.waiting == [] and not run.has_player and not run.is_leaving and run.viewer == ada.session_hash
    made = run.num_chunks
    wait_for(lambda: run.num_chunks > made + 3)
    ada.predict(api_name="/stop")
    take = jobs[ada].result()[3]
    cards = cards_of(take["video"] if isinstance(take, dict) else take)
    assert cards == [(number, 0) for number in range(len(cards))]
    for one in (ada, eve):
        one.close()
