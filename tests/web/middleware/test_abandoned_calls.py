"""Answers that nobody reads do not pile up."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gradio_client import Client

from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.hostile_requests import API

UNREAD_TIMEOUT_S = 1.5
MEADOW = "a red ball stands on a green meadow"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr("longlive.web.middleware.abandoned_calls.UNREAD_TIMEOUT_S", UNREAD_TIMEOUT_S)
    with serve_page(FakeModels(), disconnect_timeout_s=0.5, retention_s=0.5) as page:
        yield page


def queue_of(served: Served) -> Any:
    return served.page._queue


def wait_until(condition: Any, seconds: float = 60) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.05)


@pytest.mark.slow
def test_a_call_whose_stream_is_never_opened_ends_and_leaves_nothing(served: Served) -> None:
    client = Client(served.url, verbose=False)
    number = next(one["id"] for one in client.config["dependencies"] if one["api_name"] == "start")
    body = {"data": [MEADOW, 7, []], "fn_index": number, "session_hash": "stranger"}
    httpx.post(f"{served.url}{API[1:]}/queue/join", json=body).raise_for_status()
    httpx.post(f"{served.url}{API[1:]}/call/stop", json={"data": []}).raise_for_status()
    queue = queue_of(served)
    assert "stranger" in queue.pending_messages_per_session and len(queue.pending_messages_per_session) == 2
    wait_until(lambda: not queue.pending_messages_per_session and not queue.pending_event_ids_session)
    served.wait_until_empty()
    client.close()


@pytest.mark.slow
def test_whoever_reads_is_left_alone(served: Served) -> None:
    client = Client(served.url, verbose=False)
    begun = time.monotonic()
    chunks = 0
    for player, *_ in client.submit(MEADOW, 7, [], api_name="/start"):
        chunks += player["kind"] == "segment"
        if time.monotonic() - begun > 2.5 * UNREAD_TIMEOUT_S and chunks < 10_000:
            client.predict(api_name="/stop")
            chunks = 10_000
    assert player["kind"] == "end" and player["has_take"]
    wait_until(lambda: not queue_of(served).pending_messages_per_session)
    client.close()


def test_a_call_by_http_that_is_read_late_is_answered(served: Served) -> None:
    asked = httpx.post(f"{served.url}{API[1:]}/call/stop", json={"data": []}).json()
    time.sleep(0.5)
    answer = httpx.get(f"{served.url}{API[1:]}/call/stop/{asked['event_id']}").text
    assert "No video is playing" in answer
