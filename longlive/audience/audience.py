"""Those who watch a run along with its viewer: a link, the run behind it, and how many are there.

audiences = Audiences()
audience = audiences.open(run)              # its viewer wants that; audience.id stands in the link
with audiences.find(link_id).join(): ...    # one who watches, for as long as the connection lasts
audiences.lead_on(viewer, run)              # it goes on with the next run of the same viewer
audiences.close(run)                        # the link leads nowhere from now on
"""

import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from longlive.audience.audience_file import KeptAudience, forget_audience, read_audience, write_audience
from longlive.audience.proposals import Proposal, Proposals
from longlive.errors import BusyError
from longlive.serving.runs.run import Run

ID_BYTES = 16
ROOM = "room"
"""The id of the audience that everybody may join."""
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
        proposals: of those who watch.
        is_listed: whether it is offered to viewers who wait for a slot.
        peak: the most who have watched at once.
    """

    def __init__(self, run: Run, id: str | None = None) -> None:
        """An open audience of ``run``; without an ``id``, with one that nobody can guess."""
        self.id = id or secrets.token_urlsafe(ID_BYTES)
        self.run = run
        self.is_open, self.takes_proposals, self.is_listed = True, False, False
        self.goes_on = False
        self.proposals = Proposals()
        self.peak = self._count = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many watch now."""
        return self._count

    def describe(self) -> dict[str, Any]:
        """What those who watch are told of it, as JSON values; a room says more."""
        proposals = self.proposals.open() if self.takes_proposals else ()
        shown = [{"number": one.number, "text": one.text, "votes": one.votes} for one in proposals]
        return {"takes_proposals": self.takes_proposals, "proposals": shown}

    def propose(self, voice: str, address: str, text: str) -> Proposal:
        """Propose a prompt; arguments and errors as for ``Proposals.propose``."""
        return self.proposals.propose(voice, address, text)

    def vote(self, voice: str, address: str, number: int) -> Proposal:
        """Vote for a proposal; arguments and errors as for ``Proposals.vote``."""
        return self.proposals.vote(voice, address, number)

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
    """The audiences of all runs; a run has one at most. Safe to use from several threads.

    They are kept with their runs, so that a link leads on after a restart.
    """

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        """Those of the runs that another process has left."""
        self._by_id: dict[str, Audience] = {}
        self._lock = threading.Lock()
        for run in runs:
            if kept := read_audience(run.store.folder):
                audience = Audience(run, kept.id)
                audience.takes_proposals, audience.is_listed = kept.takes_proposals, kept.is_listed
                self._by_id[audience.id] = audience

    def open(self, run: Run) -> Audience:
        """The audience of a run, which is opened if it was not."""
        with self._lock:
            found = self.of_run(run)
            if found is None:
                found = Audience(run)
                self._by_id[found.id] = found
                _keep(found)
            return found

    def add(self, audience: Audience) -> None:
        """Let an audience be found by its ``id``; whoever adds it keeps it over a restart."""
        with self._lock:
            self._by_id[audience.id] = audience

    def change(
        self, audience: Audience, *, takes_proposals: bool | None = None, is_listed: bool | None = None
    ) -> None:
        """Change what is given."""
        with self._lock:
            if takes_proposals is not None:
                audience.takes_proposals = takes_proposals
            if is_listed is not None:
                audience.is_listed = is_listed
            _keep(audience)

    def find(self, id: str) -> Audience | None:
        """The open audience with this ``id``."""
        return self._by_id.get(id)

    def of_run(self, run: Run) -> Audience | None:
        """The open audience of a run."""
        return next((one for one in list(self._by_id.values()) if one.run is run), None)

    def listed(self) -> list[Audience]:
        """Those that are offered to viewers who wait."""
        return [one for one in list(self._by_id.values()) if one.is_listed]

    def lead_on(self, viewer: str, run: Run) -> None:
        """Those who watch another run of this viewer watch ``run`` from now on, if that has no audience."""
        with self._lock:
            found = next((one for one in self._by_id.values() if one.run.viewer == viewer), None)
            if found is None or self.of_run(run) is not None:
                return
            forget_audience(found.run.store.folder)
            found.run = run
            _keep(found)

    def close(self, run: Run) -> bool:
        """Nobody may watch a run any more; False if nobody might."""
        with self._lock:
            found = self.of_run(run)
            if found is None:
                return False
            found.is_open = False
            del self._by_id[found.id]
            forget_audience(run.store.folder)
            return True


def _keep(audience: Audience) -> None:
    kept = KeptAudience(audience.id, audience.takes_proposals, audience.is_listed)
    write_audience(audience.run.store.folder, kept)
