"""Those who watch a run along with its viewer: a link, the run behind it, and how many are there.

audiences = Audiences()
audience = audiences.open(run)              # its viewer wants that; audience.id stands in the link
with audiences.find(link_id).join(): ...    # one who watches, for as long as the connection lasts
audiences.close(run)                        # the link leads nowhere from now on
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from longlive.errors import BusyError
from longlive.serving.runs.run import Run

ID_BYTES = 16
MAX_WATCHERS = 1000
"""Connections to one audience; each holds a socket of this process."""


class Audience:
    """Those who watch one run along. They hold no slot of the engine, and cannot change the run.

    Attributes:
        id: what the link to it holds; whoever has it may watch, and nothing else.
        run: what is watched; a room goes on to another one when a run is over.
        is_open: whether anybody may watch.
        takes_proposals: whether those who watch may propose prompts.
        goes_on: whether another run follows when the present one is over, as in a room.
        peak: the most who have watched at once.
    """

    def __init__(self, run: Run, id: str | None = None) -> None:
        """An open audience of ``run``; without an ``id``, with one that nobody can guess."""
        self.id = id or secrets.token_urlsafe(ID_BYTES)
        self.run = run
        self.is_open, self.takes_proposals, self.goes_on = True, False, False
        self.peak = self._count = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many watch now."""
        return self._count

    @contextmanager
    def join(self) -> Iterator[None]:
        """One more watches, until the end of the block.

        Raises:
            BusyError: if ``MAX_WATCHERS`` do.
        """
        with self._lock:
            if self._count >= MAX_WATCHERS:
                raise BusyError(f"{self._count} are watching already; that is the limit. Please try later.")
            self._count += 1
            self.peak = max(self.peak, self._count)
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1


class Audiences:
    """The audiences of all runs; a run has one at most. Safe to use from several threads."""

    def __init__(self) -> None:
        """None."""
        self._by_id: dict[str, Audience] = {}
        self._lock = threading.Lock()

    def open(self, run: Run) -> Audience:
        """The audience of a run, which is opened if it was not."""
        with self._lock:
            found = self.of_run(run)
            if found is None:
                found = Audience(run)
                self._by_id[found.id] = found
            return found

    def add(self, audience: Audience) -> None:
        """Let an audience be found by its ``id``."""
        with self._lock:
            self._by_id[audience.id] = audience

    def find(self, id: str) -> Audience | None:
        """The open audience with this ``id``."""
        return self._by_id.get(id)

    def of_run(self, run: Run) -> Audience | None:
        """The open audience of a run."""
        return next((one for one in list(self._by_id.values()) if one.run is run), None)

    def close(self, run: Run) -> bool:
        """Nobody may watch a run any more; False if nobody might."""
        with self._lock:
            found = self.of_run(run)
            if found is None:
                return False
            found.is_open = False
            del self._by_id[found.id]
            return True
