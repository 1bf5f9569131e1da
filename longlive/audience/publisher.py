"""An audience's video, sent to a streaming service by RTMP, for as long as the app runs.

publisher = Publisher(audience, "rtmp://live.example.org/app/KEY")
publisher.status()                 # for /health
publisher.close()

A thread of its own feeds a process of its own (``rtmp_process.py``), with what no prompt can drop any more,
as the viewer begins to see it. Whatever the server does, nobody waits for it: a connection that breaks is
made again, after a pause that doubles up to ``MAX_PAUSE_S``. The address, whose last part is a secret, is
in no message and in no log.
"""

import logging
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import IO, Any
from urllib.parse import urlsplit

from longlive.audience.audience import Audience
from longlive.audience.rtmp_process import CHANGED, CONNECTED, pack_chunk
from longlive.audience.settled_chunks import SettledChunk, SettledChunks
from longlive.errors import ConfigError

logger = logging.getLogger(__name__)

SCHEMES = ("rtmp", "rtmps")
TIMEOUT_S = 15.0
"""A server that takes longer to answer, or to take a picture, is given up."""
MIN_PAUSE_S, MAX_PAUSE_S = 1.0, 10.0
STEADY_S = 30.0
"""After so long a connection counts as good, and the next pause is the shortest."""
POLL_S = 0.05
MAX_BEHIND = 2
"""Chunks; of more, the oldest are left out: a service is to be live."""
_COMMAND = (sys.executable, "-m", "longlive.audience.rtmp_process")
_PIPES: dict[str, Any] = {
    "stdin": subprocess.PIPE,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.DEVNULL,  # libav's messages repeat the address
}


@dataclass(frozen=True)
class PublisherStatus:
    """What ``/health`` says of a publisher.

    Attributes:
        state: ``connecting``, ``live``, ``waiting`` (for the next attempt) or ``closed``.
        connections: made so far.
        reason: while it does not go well: why the last connection was lost or not made, in words.
    """

    state: str
    connections: int = 0
    reason: str = ""


class Publisher:
    """Follows the runs of an audience, and sends them to a server."""

    def __init__(self, audience: Audience, url: str) -> None:
        """Begin to send.

        Raises:
            ConfigError: if ``url`` is none.
        """
        self._url, self._host = url, check_rtmp_url(url)
        self._audience = audience
        self._status = PublisherStatus("connecting")
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longlive-publisher", daemon=True)
        self._thread.start()

    def status(self) -> PublisherStatus:
        """How it goes."""
        return self._status

    def close(self) -> None:
        """Send no more."""
        self._closed.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        with self._audience.join():  # so a room does not rest
            self._run_until_closed()
        self._set("closed")

    def _run_until_closed(self) -> None:
        pause_s = MIN_PAUSE_S
        while not self._closed.is_set():
            begun = time.monotonic()
            try:
                reason = self._connect_and_send()
            except Exception as error:  # the app goes on without what is sent
                logger.exception("publishing to %s failed", self._host)
                reason = type(error).__name__
            if self._closed.is_set():
                break
            if time.monotonic() - begun > STEADY_S or reason == CHANGED:
                pause_s = MIN_PAUSE_S
            level = logging.DEBUG if reason == self._status.reason else logging.WARNING
            logger.log(level, "publishing to %s: %s; trying again in %.0f s", self._host, reason, pause_s)
            self._set("waiting", reason=reason)
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _connect_and_send(self) -> str:
        """Send until the connection is lost, or not made; why."""
        self._set("connecting")
        with subprocess.Popen(_COMMAND, bufsize=0, **_PIPES) as process:
            self._process = process
            assert process.stdin is not None and process.stdout is not None
            words = ""
            try:
                words = self._feed(process.stdin, process.stdout)
            except OSError:  # the process has ended, and says why
                pass
            finally:
                process.kill()
            words = words or process.stdout.read().decode().strip()
            is_late = process.wait() == -signal.SIGALRM
        if is_late:
            return f"the server has not answered for {TIMEOUT_S:.0f} s"
        return words or "the connection broke"

    def _feed(self, to: IO[bytes], answers: IO[bytes]) -> str:
        """Send chunks as they settle, until this publisher is closed; or why the server is not reached."""
        chunks, is_connected = SettledChunks(self._audience), False
        chunks.take(at_most=0)  # what comes from now on
        _write(to, pack_chunk({"url": self._url, "timeout_s": TIMEOUT_S}))
        while not self._closed.is_set():
            for chunk in chunks.take(at_most=MAX_BEHIND) if self._audience.is_open else []:
                _send(to, chunk)
                if not is_connected:
                    words = answers.readline().decode().strip()
                    if words != CONNECTED:
                        return words
                    is_connected = True
                    self._set("live", connections=self._status.connections + 1, reason="")
                    logger.info("publishing to %s", self._host)
            self._closed.wait(POLL_S)
        return ""

    def _set(self, state: str, **changes: Any) -> None:
        self._status = replace(self._status, state=state, **changes)


def check_rtmp_url(url: str) -> str:
    """The host of a stream's address; ConfigError, which does not repeat the address, if it is none."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in SCHEMES and parts.hostname and parts.path.strip("/") and url.isprintable()
        port = parts.port  # reading it checks it
    except ValueError:
        is_good, port = False, None
    if not is_good or parts.hostname is None:
        rule = "it must be the address of a stream at an RTMP server, with its key"
        raise ConfigError("--publish", "(not shown)", rule, "Such as rtmp://live.example.org/app/KEY.")
    return parts.hostname if port is None else f"{parts.hostname}:{port}"


def _send(to: IO[bytes], chunk: SettledChunk) -> None:
    for segment in chunk.segments:
        _write(to, pack_chunk({"fps": segment.fps}, segment.data))


def _write(to: IO[bytes], data: bytes) -> None:
    """Write to an unbuffered pipe; waits while it is full."""
    left = memoryview(data)
    while left:
        left = left[to.write(left) :]
