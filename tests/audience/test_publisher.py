"""Publishing by RTMP: what a server gets, and servers that refuse, hang, break off or come back."""

import contextlib
import itertools
import logging
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import pytest

from longlive.audience import publisher as module
from longlive.audience.publisher import Publisher, PublisherStatus, check_rtmp_url
from longlive.errors import ConfigError
from longlive.media.segments import SegmentEncoder
from tests.support.run_reader import wait_for
from tests.support.settled_runs import SettledRun

KEY = "secret-key"
Received = list[tuple[str, Fraction | None]]


class Stage:
    """A run that is watched and published."""

    def __init__(self) -> None:
        self.port, self.begun = free_port(), time.monotonic()
        self.run = SettledRun()
        self.run.make(2)
        self.publisher = Publisher(self.run.audience(), f"rtmp://127.0.0.1:{self.port}/live/{KEY}")

    def go_on(self) -> PublisherStatus:
        """The viewer watches in real time while somebody waits; how publishing goes."""
        self.run.position = time.monotonic() - self.begun
        while self.run.end_s < self.run.position + 1:
            self.run.make()
        return self.publisher.status()

    def wait_for(self, state: str, reason: str = "") -> PublisherStatus:
        def is_there() -> bool:
            status = self.go_on()
            return status.state == state and reason in status.reason

        wait_for(is_there, timeout=60)
        return self.publisher.status()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    monkeypatch.setattr(module, "MIN_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "MAX_PAUSE_S", 0.2)
    caplog.set_level(logging.INFO)
    stage = Stage()
    yield stage
    stage.publisher.close()
    assert stage.publisher.status().state == "closed"
    assert KEY not in caplog.text + str(stage.publisher.status())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def listen(port: int, count: int) -> Received:
    """Listen until somebody has sent so many pictures; the codec and the second of each packet."""
    received: Received = []
    url = f"rtmp://127.0.0.1:{port}/live/{KEY}"
    with av.open(url, "r", format="flv", options={"listen": "1"}, timeout=60) as source:
        for packet in source.demux():
            if packet.size and packet.pts is not None:
                received.append((packet.stream.codec_context.name, packet.pts * packet.time_base))
            if sum(codec == "h264" for codec, _ in received) >= count:
                break
    return received


@contextlib.contextmanager
def listening(stage: Stage, count: int) -> Iterator[Received]:
    """A server in a thread, which leaves when it has so many pictures; they are there after the block."""
    received: Received = []
    thread = threading.Thread(target=lambda: received.extend(listen(stage.port, count)), daemon=True)
    thread.start()
    yield received
    wait_for(lambda: bool(stage.go_on()) and not thread.is_alive(), timeout=60)


@pytest.mark.slow
def test_a_server_gets_pictures_and_silence_and_again_when_it_comes_back(stage: Stage) -> None:
    stage.wait_for("waiting", "refused")
    with listening(stage, 15) as first:
        stage.wait_for("live")
    assert {codec for codec, _ in first} == {"h264", "aac"}
    for codec in ("h264", "aac"):
        times = [second for name, second in first if name == codec]
        assert times == sorted(set(times)), "in order, no two at once"
    pictures = [second for name, second in first if name == "h264"]
    steps = [float(later - earlier) for earlier, later in itertools.pairwise(pictures)]
    assert steps[:11] == pytest.approx([1 / 16] * 11, abs=0.002)
    status = stage.wait_for("waiting")
    assert status.connections == 1 and status.reason
    with listening(stage, 2) as second:
        stage.wait_for("live")
    assert second and stage.publisher.status().connections == 2


def test_a_server_that_never_answers_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.publisher.close()
    monkeypatch.setattr(module, "TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", stage.port)):
        stage.publisher = Publisher(stage.run.audience(), f"rtmp://127.0.0.1:{stage.port}/live/{KEY}")
        status = stage.wait_for("waiting", "not answered for 1 s")
    assert status.connections == 0


@pytest.mark.slow
def test_a_video_of_another_format_is_sent_over_another_connection(stage: Stage) -> None:
    with listening(stage, 15):
        stage.wait_for("live")
        stage.run.encoder = SegmentEncoder(scale=2)
        stage.wait_for("waiting", "changed its format")
    with listening(stage, 2):
        assert stage.wait_for("live").connections == 2


@pytest.mark.parametrize(
    "url",
    ["", "rtmp://", "rtmp://host", "rtmp://host/", "http://host/app/k3y", "host/app/k3y", "rtmp://h:x/k3y"],
)
def test_an_address_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="address of a stream at an RTMP server") as caught:
        check_rtmp_url(url)
    assert "k3y" not in str(caught.value)


def test_of_an_address_only_the_host_is_named() -> None:
    assert check_rtmp_url("rtmp://user:pass@live.example.org:1936/app/KEY?x=1") == "live.example.org:1936"
    assert check_rtmp_url("rtmps://live.example.org/app/KEY") == "live.example.org"
