"""Reading frames over HTTP: however the bytes are cut, and whatever else is answered."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longlive.benchmark.loadtest.watching.watcher_connection import (
    ChunkedBody,
    FrameReader,
    WatcherConnection,
)
from longlive.errors import EndpointError
from tests.support.run_reader import wait_for

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def frame(message: dict[str, Any] | None, data: bytes = b"") -> bytes:
    header = json.dumps(message).encode() if message else b""
    return struct.pack(">II", len(header), len(data)) + header + data


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts if part)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 50))
def test_a_body_comes_out_however_it_is_cut(parts: list[bytes], size: int) -> None:
    body = ChunkedBody()
    sent = chunked(parts) + b"0\r\n\r\n"
    assert b"".join(body.feed(part) for part in cut(sent, size)) == b"".join(parts)


@given(st.lists(st.tuples(st.integers(), st.binary(max_size=40)), max_size=6), st.integers(1, 50))
def test_messages_come_without_their_pictures_and_idle_frames_not_at_all(
    sent: list[tuple[int, bytes]], size: int
) -> None:
    reader = FrameReader()
    data = b"".join(frame({"n": number}, data) + frame(None) for number, data in sent)
    read = [message for part in cut(data, size) for message in reader.feed(part)]
    assert read == [{"n": number} for number, _ in sent]


@contextmanager
def server(*parts: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers one request with these bytes, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                asked.append(client.recv(1000))
                for part in parts:
                    client.sendall(part)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/watch/x/live?chunk=3", asked
        thread.join()


def test_a_connection_reads_what_has_come_to_its_end() -> None:
    body = chunked([frame({"kind": "hello"}), frame({"kind": "segment"}, b"x" * 999)[:50]])
    rest = chunked([frame({"kind": "segment"}, b"x" * 999)[50:]]) + b"0\r\n\r\n"
    with server(HEAD[:20], HEAD[20:] + body, rest) as (url, asked):
        connection, read = WatcherConnection(url), list[Any]()

        def is_over() -> bool:
            read.extend(connection.read())
            return not connection.is_open

        wait_for(is_over)
        connection.close()
    assert asked[0].startswith(b"GET /watch/x/live?chunk=3 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert read == [{"kind": "hello"}, {"kind": "segment"}]
    assert connection.num_bytes == len(HEAD + body + rest)


def test_another_answer_is_an_error_that_says_which() -> None:
    with server(b"HTTP/1.1 404 Not Found\r\n\r\n") as (url, _):
        connection = WatcherConnection(url)
        with pytest.raises(EndpointError, match=r"HTTP/1\.1 404 Not Found"):
            wait_for(lambda: bool(connection.read()))
        assert not connection.is_open
        connection.close()
    with pytest.raises(EndpointError, match="nobody can watch at 127"):
        WatcherConnection(url)
