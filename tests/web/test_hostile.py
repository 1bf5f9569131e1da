"""Hostile requests while somebody watches a video; ``LONGLIVE_HOSTILE`` is their number."""

import asyncio
import base64
import io
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.app_process import OPERATOR_TOKEN, AppProcess, serve_in_process
from tests.support.event_loop import call_in_thread
from tests.support.fakes import read_card
from tests.support.hostile_requests import (
    API,
    HOST,
    MARKUP,
    SCRIPT,
    STRANGERS,
    Answer,
    Request,
    Sender,
    requests,
    watchers,
)
from tests.support.page_client import PageClient
from tests.support.paths import ROOT

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
TOGETHER = 6
LATE_S = 5.0  # of a busy machine; one request that stops the others does worse


class Watcher:
    """A client that watches a video of its own, as a player would, and records what it saw."""

    def __init__(self, served: AppProcess) -> None:
        self.client = PageClient(served.url)
        self.cards: list[tuple[int, int]] = []
        self.late: list[float] = []
        self.slow: list[float] = []
        self.token, self.outputs = "", []
        self._served = served
        parts = self.client.config["components"]
        self.player, self.storyboard, self.audience = (
            next(one["id"] for one in parts if one["props"].get("elem_id") == name)
            for name in ("player", "storyboard", "watch-along")
        )
        self._job = self.client.submit(MEADOW, 7, [], api_name="/start")
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._report)]
        for thread in self._threads:
            thread.start()

    def _watch(self) -> None:
        begun = 0.0
        for output in self._job:
            self.outputs = output
            message = output[0]
            self.token = message["token"]
            if message["kind"] == "segment":
                with av.open(io.BytesIO(base64.b64decode(message["data"]))) as video:
                    pictures = [picture.to_ndarray(format="rgb24") for picture in video.decode(video=0)]
                self.cards += [read_card(picture) for picture in pictures]
                begun = begun or time.monotonic()
                self.late.append(time.monotonic() - begun - message["first_frame"] / message["fps"])
            elif message["kind"] == "rewind":
                del self.cards[round(16 * message["second"]) :]
        self._ended.set()

    def _report(self) -> None:
        """Report the playhead, as a player does."""
        begun = time.monotonic()
        with httpx.Client(base_url=self._served.url) as http:
            while not self._ended.wait(0.5):
                word = {
                    "token": self.token,
                    "seconds": max(0.0, time.monotonic() - begun - 1),
                    "playing": True,
                }
                asked = {"data": word, "component_id": self.player, "fn_name": "playhead"}
                asking = time.monotonic()
                http.post(f"{API}/component_server/", json=asked | {"session_hash": self.client.session_hash})
                self.slow.append(time.monotonic() - asking)

    def wait(self, chunks: int) -> None:
        """Wait for so many more chunks; AssertionError if they do not come."""
        goal, patience = len(self.cards) + 12 * chunks, time.monotonic() + 60
        while len(self.cards) < goal and not self._ended.is_set():
            assert time.monotonic() < patience, f"{len(self.cards)} of {goal} pictures came"
            time.sleep(0.02)
        assert not self._ended.is_set(), self.outputs[2]

    def close(self) -> None:
        self.client.predict(api_name="/stop")
        self._ended.wait(30)
        for thread in self._threads:
            thread.join(10)
        self.client.close()


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[list[str]]:
    """Content of files that nobody may read, inside and outside of the working folder."""
    inside, outside = ROOT / "canary.txt", tmp_path / "canary.txt"
    inside.write_text("canary-inside-4711")
    outside.write_text("canary-outside-4711")
    yield ["canary-inside-4711", "canary-outside-4711", "root:x:0:0", '"""The filter in front of Gradio']
    inside.unlink()


def with_canaries(tmp_path: Path) -> st.SearchStrategy[Request]:
    """Requests for files whose paths an attacker knows."""
    files = [
        ROOT / "canary.txt",
        tmp_path / "canary.txt",
        ROOT / "longlive/web/middleware/request_filter.py",
        Path("/etc/passwd"),
    ]
    spellings = [
        f"{API}/file={{}}",
        f"{API}/file=file://{{}}",
        f"{API}/file/{{}}",
        f"{API}/file={'../' * 12}{{}}",
        "/static/{}",
        "/assets/..%2f..%2f..%2f{}",
        f"{API}/proxy={{}}",
        "/svelte/{}",
        f"{API}/stream/{{}}/a/1/a.ts",
    ]
    bodies = [
        lambda path: {"path": path, "meta": {"_type": "gradio.FileData"}},
        lambda path: path,
        lambda path: {"text": path, "path": path},
        lambda path: [{"path": path, "url": f"file://{path}"}],
    ]
    get = st.builds(
        lambda spelling, path: Request("GET", spelling.format(path)),
        st.sampled_from(spellings),
        st.sampled_from(files),
    )
    post = st.builds(
        lambda body, path, function: Request(
            "POST",
            f"{API}/call/{function}",
            httpx.Request("POST", "http://a", json={"data": [body(str(path)), 7, []]}).content,
            {"Content-Type": "application/json"},
        ),
        st.sampled_from(bodies),
        st.sampled_from(files),
        st.sampled_from(["start", "generate"]),
    )
    return st.one_of(get, post)


def check(request: Request, answer: Answer, secrets: list[str]) -> None:
    """AssertionError for a response that must not be."""
    shown = f"{request!r:.3000} got {answer!r:.2000}"
    assert answer.status < 500, shown
    for secret in secrets:
        assert secret not in answer.text, f"{secret}: {shown}"
    assert HOST not in answer.text or HOST in str(request.headers), shown
    if "text/html" in answer.headers.get("content-type", ""):
        assert MARKUP not in answer.text and SCRIPT not in answer.text, shown
    if answer.status == 200 and request.method in ("GET", "POST"):
        assert answer.headers.get("x-content-type-options") == "nosniff", shown


def attack(url: str, strategy: st.SearchStrategy[Request], number: int, secrets: list[str]) -> Counter[int]:
    """Send that many requests, some at once, and check every answer; how often each status came."""
    seen: Counter[int] = Counter()
    sent = 0

    async def send_all(batch: list[Request]) -> list[list[Answer]]:
        return await asyncio.gather(*(sender.send(request) for request in batch))

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.lists(strategy, min_size=TOGETHER, max_size=TOGETHER))
    def throw(batch: list[Request]) -> None:
        nonlocal sent
        if sent >= number:
            return
        for request, answers in zip(batch, runner.run(send_all(batch)), strict=True):
            for answer in answers:
                seen[answer.status] += 1
                sent += 1
                check(request, answer, secrets)

    with asyncio.Runner() as runner:
        sender = Sender(url)
        try:
            throw()
        finally:
            runner.run(sender.close())
    assert sent >= number
    return seen


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_hostile_requests_break_nothing_and_reveal_nothing(
    canaries: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    number = int(os.environ.get("LONGLIVE_HOSTILE", "600"))
    with serve_in_process(tmp_path / "log.txt") as served:
        watcher = Watcher(served)
        watcher.wait(2)
        secrets = [watcher.token, watcher.client.session_hash, served.room_token, OPERATOR_TOKEN]
        hidden = [*secrets, *canaries, "Traceback", sys.prefix, served.folder]
        functions = {one["api_name"]: one["id"] for one in watcher.client.config["dependencies"]}
        link = watcher.client.predict(True, True, True, api_name="/watch_along")["link"]
        components = [watcher.player, watcher.storyboard, watcher.audience]
        strategy = requests(functions, components) | watchers(link)
        begun = time.monotonic()
        seen = call_in_thread(attack, served.url, strategy | with_canaries(tmp_path), number, hidden)
        took = time.monotonic() - begun
        promise, *_ = watcher.client.predict(JUMP, "soft", api_name="/prompt")
        watcher.wait(6)
        late, slow = max(watcher.late), max(watcher.slow)
        watcher.close()
        close_pages(served)
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))
    with capfd.disabled():
        print(f"\n{sum(seen.values())} answers in {took:.0f} s: {statuses}")
        print(f"the video was at most {late:.2f} s late, a report of its player answered after {slow:.2f} s")
    turn = round(promise["at_seconds"] * 16)
    assert watcher.cards == [(frame % 4096, int(frame >= turn)) for frame in range(len(watcher.cards))]
    assert len(watcher.cards) > turn and max(late, slow) < LATE_S
    assert watcher.outputs[2] == "Stopped. Your video is below."
    lines = "".join(served.log).splitlines()
    assert any("started, seed" in line for line in lines)
    assert not [line for line in lines if any(secret in line for secret in [*hidden, *STRANGERS])]


def close_pages(served: AppProcess) -> None:
    """Close the pages of the runs that the strangers started."""
    for stranger in STRANGERS:
        with httpx.stream("GET", f"{served.url}{API.lstrip('/')}/heartbeat/{stranger}") as answer:
            next(answer.iter_bytes())
