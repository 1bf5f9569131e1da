"""A mailbox between processes of one machine."""

import fcntl
import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longlive.errors import MailboxError
from longlive.files import atomic_write
from longlive.serving.executors.mailbox import deferred, is_refused
from longlive.serving.executors.messages import (
    Message,
    Playhead,
    Prompt,
    Reschedule,
    Stop,
    Suspend,
    supersedes,
)

POLL_INTERVAL_S = 0.015


def _reschedule(
    removed: list[int], added: list[dict[str, Any]], occupied: list[int], **fields: Any
) -> Message:
    """A Reschedule from its JSON."""
    prompts = tuple(Prompt(**prompt) for prompt in added)
    return Reschedule(tuple(removed), prompts, tuple(occupied), **fields)


_KINDS: dict[str, Callable[..., Message]] = {
    kind.__name__: kind for kind in (Prompt, Playhead, Stop, Suspend)
} | {Reschedule.__name__: _reschedule}
_STATE = struct.Struct("<qq")


class FileMailbox:
    """A folder with two small files; see Mailbox.

    ``mail.json`` holds the unread messages with their numbers; it is written beside and then moved into
    place, so that nobody reads half of it. ``state`` has a fixed size and is overwritten, which needs no
    space on a full disk: the chunk started last, and the number of the message read last. It is locked while
    either file changes. Nothing but JSON is read from the disk.
    """

    def __init__(self, folder: Path, started_chunk: int = -1) -> None:
        """The mailbox in ``folder``, which other processes may have open too.

        Args:
            folder: made if it does not exist.
            started_chunk: of a new mailbox, the chunk that was started last.

        Raises:
            MailboxError: if it cannot be made. Every method may raise it too (a full disk, say).
        """
        self._folder, self._mail, self._state = folder, folder / "mail.json", folder / "state"
        self._seen = b""
        with self._mailbox_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._state.touch(mode=0o600)
            with self._locked() as state:
                if not os.fstat(state).st_size:
                    _write_state(state, started_chunk, -1)

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; -1 before the first."""
        with self._mailbox_errors(), self._locked() as state:
            return _read_state(state)[0]

    def post(self, message: Message) -> Message:
        """Leave a message unless it is late; returns it, prompts moved to the first chunk not started."""
        with self._mailbox_errors(), self._locked() as state:
            started_chunk, last_read = _read_state(state)
            message = deferred(message, started_chunk)
            if is_refused(message):
                return message
            entries = self._entries()
            number = entries[-1].number + 1 if entries else 0
            unread = [
                entry
                for entry in entries
                if entry.number > last_read and not supersedes(message, entry.message)
            ]
            self._write([*unread, _Entry(number, message)])
            return message

    def poll(self, timeout: float = 0.0) -> list[Message]:
        """All messages since the last poll, in order; waits up to ``timeout`` seconds for one."""
        deadline = time.monotonic() + timeout
        while not (messages := self._read_new()) and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(POLL_INTERVAL_S, left))
        return messages

    def start_chunk(self, chunk: int) -> list[Message]:
        """Poll, and from the same moment on schedule prompts for chunks after ``chunk`` only."""
        with self._mailbox_errors(), self._locked() as state:
            return self._collect(state, chunk)

    def _read_new(self) -> list[Message]:
        """The new messages; if there is none, one small file was read and nothing locked."""
        with self._mailbox_errors():
            if self._content() == self._seen:
                return []
            with self._locked() as state:
                return self._collect(state, _read_state(state)[0])

    def _collect(self, state: int, started_chunk: int) -> list[Message]:
        _, last_read = _read_state(state)
        entries = self._entries()
        _write_state(state, started_chunk, entries[-1].number if entries else last_read)
        self._seen = self._content()
        return [entry.message for entry in entries if entry.number > last_read]

    def _entries(self) -> "list[_Entry]":
        content = self._content()
        return [_Entry.of(**values) for values in json.loads(content)] if content else []

    def _content(self) -> bytes:
        try:
            return self._mail.read_bytes()
        except FileNotFoundError:
            return b""

    def _write(self, entries: "list[_Entry]") -> None:
        with atomic_write(self._mail) as part:
            part.write_text(json.dumps([entry.values() for entry in entries]), encoding="ascii")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open state file, which nobody else changes meanwhile; opened anew, to lock out threads too."""
        state = os.open(self._state, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(state, fcntl.LOCK_EX)
            yield state
        finally:
            fcntl.flock(state, fcntl.LOCK_UN)  # closing is not enough if a process was forked meanwhile
            os.close(state)

    @contextmanager
    def _mailbox_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, TypeError, struct.error) as error:
            raise MailboxError(
                f"The mailbox in {self._folder} cannot be used: {error}. "
                "Check whether the disk is full, or the folder was removed."
            ) from error


@dataclass(frozen=True)
class _Entry:
    """A message with its number, from 0 in order of posting."""

    number: int
    message: Message

    @classmethod
    def of(cls, number: int, kind: str, **fields: Any) -> "_Entry":
        """From ``values``; ValueError or TypeError when they make no sense."""
        if kind not in _KINDS:
            raise ValueError(f"a message is {kind!r}, but it must be one of {sorted(_KINDS)}")
        return cls(number, _KINDS[kind](**fields))

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {"number": self.number, "kind": type(self.message).__name__} | asdict(self.message)


def _read_state(state: int) -> tuple[int, int]:
    started_chunk, last_read = _STATE.unpack(os.pread(state, _STATE.size, 0))
    return started_chunk, last_read


def _write_state(state: int, started_chunk: int, last_read: int) -> None:
    os.pwrite(state, _STATE.pack(started_chunk, last_read), 0)
