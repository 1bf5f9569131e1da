"""The mailbox between processes of one machine."""

import fcntl
import json
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longlive.errors import MailboxError
from longlive.files import atomic_write
from longlive.serving.executors.messages import _KINDS, Message, gives_way, put_off

LOOK_EVERY_S = 0.015


_NUMBERS = struct.Struct("<qq")


class FileMailbox:
    """The mailbox between processes of one machine: a folder with two small files.

    ``mail.json`` holds what was posted and not yet read, each message with its number; who posts writes it
    anew beside and moves it there, so that nobody reads half of it. ``place`` has a fixed size and is
    overwritten, which needs no room on a full disk: the chunk begun last, and the number of the message read
    last. It is locked while either file changes. Nothing but JSON is read from the disk.
    """

    def __init__(self, folder: Path, begun: int = -1) -> None:
        """The mailbox in ``folder``, whoever else has it open.

        Args:
            folder: made if it is not there.
            begun: in a mailbox that was not there, the chunk that has begun last.

        Raises:
            MailboxError: if it cannot be made. Every method may raise it too (a full disk, say).
        """
        self._folder, self._mail, self._place = folder, folder / "mail.json", folder / "place"
        self._seen = b""
        with self._in_words():
            folder.mkdir(parents=True, exist_ok=True)
            self._place.touch(mode=0o600)
            with self._locked() as place:
                if not os.fstat(place).st_size:
                    _write_numbers(place, begun, -1)

    @property
    def begun(self) -> int:
        """As in Mailbox."""
        with self._in_words(), self._locked() as place:
            return _read_numbers(place)[0]

    def post(self, message: Message) -> Message:
        """As in Mailbox."""
        with self._in_words(), self._locked() as place:
            begun, read = _read_numbers(place)
            message = put_off(message, begun)
            letters = self._letters()
            number = letters[-1].number + 1 if letters else 0
            unread = [
                letter
                for letter in letters
                if letter.number > read and not gives_way(letter.message, message)
            ]
            self._write([*unread, _Letter(number, message)])
            return message

    def poll(self, timeout: float = 0.0) -> list[Message]:
        """As in Mailbox."""
        patience = time.monotonic() + timeout
        while not (messages := self._look()) and (left := patience - time.monotonic()) > 0:
            time.sleep(min(LOOK_EVERY_S, left))
        return messages

    def begin(self, chunk: int) -> list[Message]:
        """As in Mailbox."""
        with self._in_words(), self._locked() as place:
            return self._collect(place, chunk)

    def _look(self) -> list[Message]:
        """What has come; if nothing did since the last look, one small file was read and nothing locked."""
        with self._in_words():
            if self._content() == self._seen:
                return []
            with self._locked() as place:
                return self._collect(place, _read_numbers(place)[0])

    def _collect(self, place: int, begun: int) -> list[Message]:
        _, read = _read_numbers(place)
        letters = self._letters()
        _write_numbers(place, begun, letters[-1].number if letters else read)
        self._seen = self._content()
        return [letter.message for letter in letters if letter.number > read]

    def _letters(self) -> "list[_Letter]":
        content = self._content()
        return [_Letter.of(**values) for values in json.loads(content)] if content else []

    def _content(self) -> bytes:
        try:
            return self._mail.read_bytes()
        except FileNotFoundError:
            return b""

    def _write(self, letters: "list[_Letter]") -> None:
        with atomic_write(self._mail) as part:
            part.write_text(json.dumps([letter.values() for letter in letters]), encoding="ascii")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file of the place, which nobody else changes; opened anew, to lock out threads as well."""
        place = os.open(self._place, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            yield place
        finally:
            fcntl.flock(place, fcntl.LOCK_UN)  # closing is not enough if a process was forked meanwhile
            os.close(place)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, TypeError, struct.error) as error:
            raise MailboxError(
                f"The mailbox in {self._folder} cannot be used: {error}. "
                "See whether the disk is full, or the folder was removed."
            ) from error


@dataclass(frozen=True)
class _Letter:
    """A message with its number, from 0 in order of posting."""

    number: int
    message: Message

    @classmethod
    def of(cls, number: int, kind: str, **fields: Any) -> "_Letter":
        """From ``values``; ValueError or TypeError when they make no sense."""
        if kind not in _KINDS:
            raise ValueError(f"a message is {kind!r}, but it must be one of {sorted(_KINDS)}")
        return cls(number, _KINDS[kind](**fields))

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"number": self.number, "kind": type(self.message).__name__} | asdict(self.message)


def _read_numbers(place: int) -> tuple[int, int]:
    begun, read = _NUMBERS.unpack(os.pread(place, _NUMBERS.size, 0))
    return begun, read


def _write_numbers(place: int, begun: int, read: int) -> None:
    os.pwrite(place, _NUMBERS.pack(begun, read), 0)
