"""What of a room lies in the folder of all runs, so that it goes on after a restart of the app."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longlive.files import atomic_write

logger = logging.getLogger(__name__)

NAME = "room.json"


class RoomFile:
    """One file, which is written whole and replaced in one step; safe to use from several threads.

    Of several threads that want what they have changed to be on disk, one may write for all.
    """

    def __init__(self, folder: Path, state: Callable[[], dict[str, Any]]) -> None:
        """``state`` gives what is written, as JSON values."""
        self.path = folder / NAME
        self._state = state
        self._asked, self._written = 0, 0
        self._counting, self._writing = threading.Lock(), threading.Lock()
        self._has_failed = False

    def read(self) -> dict[str, Any] | None:
        """What was written last; None if there is nothing that can be read."""
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("the room begins anew, as %s cannot be read: %s", self.path, error)
            return None
        return state if isinstance(state, dict) else None

    def write(self) -> None:
        """Have all that was changed before this call on disk; a full disk is logged, and the room goes on."""
        with self._counting:
            self._asked += 1
            mine = self._asked
        with self._writing:
            if self._written >= mine:
                return
            with self._counting:
                newest = self._asked
            self._replace(json.dumps(self._state()))
            self._written = newest

    def _replace(self, text: str) -> None:
        try:
            with atomic_write(self.path) as part, open(part, "w", opener=_open_private) as file:
                file.write(text)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                logger.warning("the room will not survive a restart: %s", error.strerror)
            self._has_failed = True


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
