"""A watcher's connection: HTTP and frames, read without waiting, so that one thread can read hundreds."""

import contextlib
import json
import socket
import ssl
import struct
from typing import Any
from urllib.parse import urlsplit

from longlive.errors import EndpointError

CONNECT_TIMEOUT_S = 20.0
_READ_BYTES = 1 << 18
_FRAME = struct.Struct(">II")


class ChunkedBody:
    """The body of a response with ``Transfer-Encoding: chunked`` (RFC 9112, 7.1), as its bytes come."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._held, self._left = bytearray(), 0
        self._is_first = True

    def feed(self, data: bytes) -> bytes:
        """What of the body these bytes complete."""
        self._held += data
        body = bytearray()
        while self._held and (self._left or self._begin_chunk()):
            part = self._held[: self._left]
            body += part
            del self._held[: len(part)]
            self._left -= len(part)
        return bytes(body)

    def _begin_chunk(self) -> bool:
        """Read how long the next chunk is; False if that has not come, or it is the last one."""
        start = 0 if self._is_first else 2  # after the end of the line that the chunk before stands in
        end = self._held.find(b"\r\n", start)
        if end < 0:
            return False
        size = int(self._held[start:end].split(b";")[0], 16)
        if size:
            self._left, self._is_first = size, False
            del self._held[: end + 2]
        return size > 0


class FrameReader:
    """Messages of frames like those of ``/live``; their pictures are left out."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._held = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that these bytes complete."""
        self._held += data
        messages, place = [], 0
        while len(self._held) >= place + _FRAME.size:
            header, size = _FRAME.unpack_from(self._held, place)
            end = place + _FRAME.size + header + size
            if len(self._held) < end:
                break
            if header:
                text = self._held[place + _FRAME.size : place + _FRAME.size + header]
                messages.append(json.loads(text))
            place = end
        del self._held[:place]
        return messages


class WatcherConnection:
    """An open request for frames.

    Attributes:
        num_bytes: that came.
        is_open: whether more may come.
    """

    def __init__(self, url: str) -> None:
        """Send the request.

        Raises:
            EndpointError: if nobody answers.
        """
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            self._socket = socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S)
            if parts.scheme == "https":
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        except OSError as error:
            raise EndpointError(f"nobody can watch at {parts.netloc}: {error}") from error
        self._socket.setblocking(False)
        self.num_bytes, self.is_open = 0, True
        self._head: bytearray | None = bytearray()
        self._body, self._frames = ChunkedBody(), FrameReader()

    def fileno(self) -> int:
        """Of its socket, for a selector."""
        return self._socket.fileno()

    def read(self) -> list[dict[str, Any]]:
        """The messages that have come.

        Raises:
            EndpointError: if the answer is an error.
        """
        messages: list[dict[str, Any]] = []
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while data := self._receive():
                messages += self._take(data)
        return messages

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        self._socket.close()

    def _receive(self) -> bytes:
        """Some bytes; none at the end."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise
        except OSError:
            data = b""
        self.num_bytes += len(data)
        self.is_open = bool(data)
        return data

    def _take(self, data: bytes) -> list[dict[str, Any]]:
        if self._head is not None:
            self._head += data
            head, blank, data = bytes(self._head).partition(b"\r\n\r\n")
            if not blank:
                return []
            self._head = None
            status = head.split(b"\r\n")[0].decode(errors="replace")
            if " 200" not in status or b"chunked" not in head.lower():
                self.is_open = False
                raise EndpointError(f"a watcher was answered: {status}")
        return self._frames.feed(self._body.feed(data))
