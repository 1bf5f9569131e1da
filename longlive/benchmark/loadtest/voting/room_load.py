"""The load test of a room: voters for some minutes, and what they saw.

All come from one address, so the app must let as many take part: ``--voices-per-address``.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from longlive.benchmark.loadtest.voting.room_voter import RoomVoter
from longlive.benchmark.statistics import percentile
from longlive.errors import EndpointError
from longlive.runtime.environment import git_revision, processor_name, versions

PATIENCE_S = 20.0
"""A prompt that has won counts as unseen after so long."""
ARRIVE_EVERY_S = 0.1


@dataclass(frozen=True)
class RoomLoadResult:
    """What the voters saw together.

    Attributes:
        url, voters, minutes: what was asked for.
        chunks: that came, of all voters.
        missing_chunks: that never came to a voter, though those after them did.
        takes: most runs that a voter saw, one after another.
        reconnections: of all.
        rounds, won: most rounds that a voter saw end; of these, those that a proposal had won.
        applied_p50_s, applied_p95_s, applied_max_s: from the news that a prompt has won to its first
            pictures, of all voters.
        unseen: prompts that had won and that a voter did not see within ``PATIENCE_S``.
        acts: proposals and votes, by how they were answered.
        lost_votes: that were answered and are known no more, though their proposal waits.
    """

    url: str
    voters: int
    minutes: float
    chunks: int
    missing_chunks: int
    takes: int
    reconnections: int
    rounds: int
    won: int
    applied_p50_s: float | None
    applied_p95_s: float | None
    applied_max_s: float | None
    unseen: int
    acts: dict[str, int]
    lost_votes: int


def run_room_load(
    url: str, voters: int, minutes: float, progress: Callable[[str], None] = lambda line: None
) -> RoomLoadResult:
    """Let voters follow the room of a running app for some minutes; the app may be restarted meanwhile.

    Raises:
        EndpointError: if there is no room.
    """
    url = f"{url.rstrip('/')}/"
    _check_room(url)
    everybody: list[RoomVoter] = []
    end = time.monotonic() + 60 * minutes
    for number in range(voters):
        everybody.append(RoomVoter(url, number))
        time.sleep(ARRIVE_EVERY_S)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 60))
        progress(f"{max(0, end - time.monotonic()) / 60:.1f} minutes to go; {_acts(everybody)}")
    now = time.monotonic()
    for voter in everybody:
        voter.close()
    return combine(url, minutes, everybody, now)


def combine(url: str, minutes: float, voters: Sequence[RoomVoter], now: float) -> RoomLoadResult:
    """What all voters saw."""
    logs = [voter.log for voter in voters]
    delays = [delay for log in logs for delay in log.delays_s()]
    return RoomLoadResult(
        url=url,
        voters=len(voters),
        minutes=minutes,
        chunks=sum(log.num_chunks for log in logs),
        missing_chunks=sum(log.missing for log in logs),
        takes=max((log.takes for log in logs), default=0),
        reconnections=sum(voter.reconnections for voter in voters),
        rounds=max((log.rounds for log in logs), default=0),
        won=max((log.num_won for log in logs), default=0),
        applied_p50_s=percentile(delays, 50),
        applied_p95_s=percentile(delays, 95),
        applied_max_s=percentile(delays, 100),
        unseen=sum(log.num_unseen(now, PATIENCE_S) for log in logs),
        acts=_acts(voters),
        lost_votes=sum(voter.lost for voter in voters),
    )


def describe(result: RoomLoadResult) -> dict[str, Any]:
    """The result as JSON values, with the machine and the versions of this process."""
    return {
        **asdict(result),
        "processor": processor_name(),
        "versions": versions(),
        "revision": git_revision(),
    }


def _acts(voters: Sequence[RoomVoter]) -> dict[str, int]:
    acts = Counter[str]()
    for voter in voters:
        acts.update(voter.acts)
    return dict(acts.most_common())


def _check_room(url: str) -> None:
    try:
        status = httpx.get(f"{url}watch/room/voice", timeout=20).status_code
    except httpx.HTTPError as error:
        raise EndpointError(f"nobody answers at {url}: {error}") from error
    if status != 200:
        raise EndpointError(f"the app at {url} has no room: start it with --room")
