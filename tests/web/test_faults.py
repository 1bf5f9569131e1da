"""Faults that come over the network, and what is promised all the same; see longlive/serving/README.md."""

import errno
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import pytest
from gradio_client.exceptions import AppError
from gradio_client.utils import apply_diff

from longlive.benchmark.loadtest import dropouts as drops
from longlive.cli import main
from longlive.serving.runs import run as run_module
from longlive.web import backpressure, file_serving
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.metrics_reader import figures
from tests.support.page_client import PageClient, call_component, cards_of
from tests.support.paths import ROOT
from tests.support.prefork import ForkedProgram
from tests.support.run_reader import run_of, wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture
def served() -> Iterator[Served]:
    with serve_page(FakeModels(), disconnect_timeout_s=1, retention_s=1, buffer_ahead_s=99) as page:
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


def dropped(served: Served) -> float:
    """How many events no follower read."""
    return figures(served.engine.metrics)["longlive_dropped_messages_total"]


def kept(served: Served) -> int:
    """How many streams the page remembers."""
    return len(served.page.endpoints.streams)


@pytest.mark.parametrize("way", ["join", "call"])
@pytest.mark.slow
def test_a_stream_that_nobody_opens_is_given_up_and_nothing_of_it_stays(served, monkeypatch, way) -> None:
    monkeypatch.setattr(backpressure, "MAX_UNREAD", 8)
    monkeypatch.setattr("longlive.web.middleware.abandoned_calls.UNREAD_TIMEOUT_S", 4.0)
    if way == "join":
        join(served, "nobody")
    else:
        call(served)
    wait_for(lambda: served.engine.status().suspended == 1)
    assert max(unread(served)) <= 8 + 2
    served.wait_until_empty()
    wait_for(lambda: not unread(served) and not kept(served))
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


@pytest.mark.slow
def test_a_slow_client_gets_what_is_kept_in_order_and_what_is_lost_is_counted(monkeypatch) -> None:
    monkeypatch.setattr(backpressure, "MAX_UNREAD", 8)
    monkeypatch.setattr(run_module, "KEPT_EVENTS", 8)
    with serve_page(
        FakeModels(), disconnect_timeout_s=5, no_player_timeout_s=60, buffer_ahead_s=999
    ) as served:
        for listener in served.page.server.servers[0].sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # little is kept on the way
        join(served, "slow")
        slow = Stream(served, "slow")
        got = []
        for _ in range(3):
            got.append(slow.read())
            time.sleep(1)
        run = run_of(served.engine, "slow")
        wait_for(lambda: dropped(served) > 5 and run.status == "suspended", timeout=60)
        assert max(unread(served)) <= 8 + 2 and len(run.events.kept()) <= 8
        quick = PageClient(served.url)
        job = iter(quick.submit(JUMP, 7, [], api_name="/start"))
        assert frames([next(job)[0] for _ in range(6)]) == [0, 1, 9, 21, 33], "the others do not notice"
        quick.predict(api_name="/stop")
        quick.close()
        made = run.num_chunks
        while not frames(got) or frames(got)[-1] < 9 + 12 * made:
            got.append(slow.read())
        assert frames(got) == sorted(set(frames(got))), "in order, and nothing twice"
        run.stop("user")
        while got[-1]["kind"] != "end":
            got.append(slow.read())
        slow.close()
        serials = [one["serial"] for one in got]
        assert run.events.last - len(serials) == dropped(served), "every event that was not sent is counted"


def test_a_stranger_moves_nothing_of_another_s_story(served: Served) -> None:
    ada, eve = (PageClient(served.url) for _ in range(2))
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
        assert call_component(served, eve, "replay_since", {"token": token, "after": 0, "before": 9}) == []
        assert call_component(served, eve, "exists", {"token": token}) is False
    eve.predict(JUMP, "hard", api_name="/prompt")
    eve.predict(api_name="/stop")
    with pytest.raises(AppError, match="Press Start first"):
        eve.predict(JUMP, "hard", api_name="/prompt")
    assert (
        run.prompts.upcoming == []
        and run.presence.clock.reported_at is None
        and not run.is_leaving
        and run.viewer == ada.session_hash
    )
    made = run.num_chunks
    wait_for(lambda: run.num_chunks > made + 3)
    ada.predict(api_name="/stop")
    take = jobs[ada].result()[3]
    cards = cards_of(take["video"] if isinstance(take, dict) else take)
    assert cards == [(number, 0) for number in range(len(cards))]
    for one in (ada, eve):
        one.close()


def test_a_disk_that_is_full_where_films_are_shown_from_costs_neither_the_end_nor_the_words(
    served: Served, monkeypatch
) -> None:
    client = PageClient(served.url)
    job = iter(client.submit(MEADOW, 7, [], api_name="/start"))
    assert next(job)[0]["kind"] == "begin"

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_serving, "_link_or_copy", full)
    client.predict(api_name="/stop")
    *_, (message, _, words, take, session_file) = job
    assert (message["kind"], take, session_file) == ("end", None, None)
    reason = "-seed7.mp4 was made, but cannot be offered for download: No space left on device."
    assert words.endswith(reason)
    storyboard = {"prompts": [{"text": MEADOW}]}
    with pytest.raises(AppError, match="was made, but cannot be offered for download"):
        client.predict(storyboard, 1, 7, api_name="/generate")
    client.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def app(port: int, folder: Path) -> Iterator[ForkedProgram]:
    """The app over storybook, with its stories in a folder; killed at the end."""
    command = ["app.py", "--port", str(port), "--store", str(folder), "--resume", "exact"]
    log = (folder.parent / f"app-{secrets.token_hex(4)}.log").open("w")
    process = ForkedProgram(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: is_up(port) or process.poll() is not None, timeout=200)
        assert process.poll() is None, Path(log.name).read_text()[-2000:]
        yield process
    finally:
        process.kill()
        process.wait()
        log.close()


def is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_app_finds_its_story_again_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "stories"
    folder.mkdir()
    got: list[dict[str, Any]] = []
    later = [{"at": 2, "text": "the red ball jumps on a green meadow"}]
    with app(port, folder) as first:
        client = PageClient(f"http://127.0.0.1:{port}")
        for player, *_ in client.submit(MEADOW, 7, later, api_name="/start"):
            got.append(player)
            if player["kind"] == "segment" and player["chunk"] == 5:
                os.kill(first.pid, signal.SIGKILL)
                break
        assert first.wait(30) == -signal.SIGKILL
    killed = time.monotonic()
    with app(port, folder):
        up = time.monotonic()
        client = PageClient(f"http://127.0.0.1:{port}")
        last = next(one for one in reversed(got) if one["kind"] == "segment")
        seen_s = (last["first_frame"] + last["num_frames"] - 1) / 16
        again: list[dict[str, Any]] = []
        for output in client.submit(got[0]["token"], seen_s, api_name="/resume"):
            again.append(output[0])
            shots = [one for one in again if one["kind"] == "segment"]
            if len(shots) == 1 and again[-1] is shots[0]:
                back = time.monotonic()
            if len(shots) == 4 and again[-1] is shots[-1]:
                client.predict("a blue cube stands on snow", "soft", api_name="/prompt")
            if len(shots) == 9 and again[-1] is shots[-1]:
                client.predict(api_name="/stop")
        _, _, _, take, session_file = output
        take = take["video"] if isinstance(take, dict) else take
        shutil.copy(session_file, tmp_path / "session.json")
        with av.open(take) as film:
            pictures = sum(1 for _ in film.decode(video=0))
    assert last["first_frame"] in frames(again), "what was on the screen is sent again"
    spans = {one["first_frame"]: one["num_frames"] for one in got + again if one["kind"] == "segment"}
    assert sorted(spans) == [0, *itertools.accumulate(spans[one] for one in sorted(spans))][:-1], "no gap"
    assert frames(again) == sorted(set(frames(again))) and pictures == sum(spans.values())
    texts = [one["prompt"] for one in again if one["kind"] == "segment"]
    assert texts[0] == later[0]["text"] and texts[-1] == "a blue cube stands on snow"
    print(f"up after {up - killed:.1f} s, first picture {back - up:.1f} s later, {pictures} pictures")
    assert (
        main(["replay", str(tmp_path / "session.json"), "--verify", "--out", str(tmp_path / "again.mp4")])
        == 0
    )


CLIENT = """
import sys
from gradio_client import Client
for player, *_ in Client(sys.argv[1], verbose=False).submit(sys.argv[2], 7, [], api_name="/start"):
    print(player["token"], flush=True)
"""


@pytest.mark.slow
def test_a_killed_client_s_story_rests_and_is_forgotten_and_no_other_notices() -> None:
    with serve_page(FakeModels(), disconnect_timeout_s=1, retention_s=2) as served:
        bob = PageClient(served.url)
        job = iter(bob.submit(JUMP, 7, [], api_name="/start"))
        with ForkedProgram(["-c", CLIENT, served.url, MEADOW], stdout=PIPE) as ada:
            assert ada.stdout is not None
            run = served.engine.find([ada.stdout.readline().strip() for _ in range(5)][-1])
            assert run is not None and run.status == "running"
            ada.kill()
        killed = time.monotonic()
        wait_for(lambda: run.status == "suspended")
        rested = time.monotonic()
        wait_for(lambda: not served.engine.exists(run) and not run.store.folder.exists())
        print(f"rested after {rested - killed:.1f} s, forgotten after {time.monotonic() - killed:.1f} s")
        assert rested - killed < 1 + 2 and not run.store.folder.exists()
        bob.predict(api_name="/stop")
        shown = frames([output[0] for output in job])
        assert shown == [0, 1, *range(9, shown[-1] + 1, 12)], "no other notices"
        bob.close()


def crowd(url: str, number: int, at_once: int) -> None:
    """Visitors who never open their stream, or hang up in the midst of it, by turns."""

    def send(few: int) -> int:
        with httpx.Client() as http:
            client = drops.AbandoningClient(url, http)
            for _ in range(few):
                client.visit(MEADOW)
        return client.refused

    with ThreadPoolExecutor(at_once) as threads:
        assert sum(threads.map(send, [number // at_once] * at_once)) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hundreds_of_sessions_opened_and_dropped_leave_nothing(monkeypatch) -> None:
    monkeypatch.setattr(drops, "HANG_UP_AFTER_S", 0.5)
    command = [sys.executable, "-m", "tests.support.crowd"]
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}  # else holes in the heaps of threads count as well
    pipes: Any = {"stdin": PIPE, "stdout": PIPE, "stderr": DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as app:
        assert app.stdin is not None and app.stdout is not None
        url = json.loads(app.stdout.readline())["url"]
        held = []
        # The first eighty fill Gradio's own store of the last 64 sessions.
        for visits in (80, 100, 100, 100):
            crowd(url, visits, at_once=10)
            app.stdin.write("\n")
            app.stdin.flush()
            held.append(json.loads(app.stdout.readline()))
        app.stdin.close()
        app.wait(60)
    print(*held, sep="\n")
    before, after = held[0], held[-1]
    # A leak grows with every hundred; what an allocator takes at once, it takes once.
    grown = min(later["bytes"] - earlier["bytes"] for earlier, later in itertools.pairwise(held))
    assert grown <= before["bytes"] * 0.01
    assert after["threads"] <= before["threads"] + 2  # those of pools and of telemetry come and go
    assert after["files"] <= before["files"]
    assert after["streams"] == 0
