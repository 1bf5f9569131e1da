"""The frames of ``/live`` and of ``/watch/ID/live``, as a player reads them."""

import contextlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx

Frame = tuple[dict[str, Any] | None, bytes]
"""A message and its data; None as the message of an idle one."""


def frames(parts: Iterator[bytes]) -> Iterator[Frame]:
    held = b""
    for part in parts:
        held += part
        while len(held) >= 8:
            header, data = struct.unpack(">II", held[:8])
            end = 8 + header + data
            if len(held) < end:
                break
            yield json.loads(held[8 : 8 + header]) if header else None, held[8 + header : end]
            held = held[end:]
    assert not held, "a frame was cut off"


@contextlib.contextmanager
def live(url: str, headers: dict[str, str] | None = None, **query: Any) -> Iterator[Iterator[Frame]]:
    """The frames of a connection, as they come."""
    with httpx.stream("GET", url, params=query, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        yield frames(answer.iter_bytes())


def read_until(read: Iterator[Frame], kind: str, **values: Any) -> tuple[dict[str, Any], bytes]:
    """The first message of a kind with these values, and its data; AssertionError if there is none."""
    for message, data in read:
        if message and message["kind"] == kind and values.items() <= message.items():
            return message, data
    raise AssertionError(f"no {kind} with {values} came")
