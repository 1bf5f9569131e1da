"""One watcher: a connection of its own and a player without a screen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from selectors import EVENT_READ, BaseSelector
from typing import Any

from longlive.benchmark.loadtest.watching.watcher_connection import WatcherConnection
from longlive.benchmark.loadtest.watching.watcher_player import TICK_S, WatcherPlayer
from longlive.benchmark.loadtest.watching.watchers_result import WatcherResult, stall_figures
from longlive.errors import EndpointError

RECONNECT_S = 0.5

OwnerSecond = Callable[[float], float]


@dataclass
class _Log:
    """What a watcher got; times as ``now`` of its methods."""

    asked_at: float
    first_at: float | None = None
    left_at: float | None = None
    num_bytes: int = 0
    reconnections: int = 0
    delays_s: list[float] = field(default_factory=list)
    end: str = ""


class Watcher:
    """Somebody who follows a link; to be stepped ten times a second or more.

    Attributes:
        connection: None while there is none.
    """

    def __init__(
        self, name: str, url: str, owner_second: OwnerSecond, now: float, selector: BaseSelector
    ) -> None:
        """Connect.

        Args:
            name: in the result.
            url: of the frames.
            owner_second: the second of the video on its owner's screen, at a time.
            now: the time, as in all methods.
            selector: is to tell, with this watcher as the key's data, when ``read`` has something to read.
        """
        self._name, self._url, self._owner_second, self._selector = name, url, owner_second, selector
        self._log, self._player = _Log(now), WatcherPlayer()
        self.connection: WatcherConnection | None = None
        self._take, self._connect_at, self._tick_at = "", now, now
        self._connect(now)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return bool(self._log.left_at or self._log.end)

    def read(self, now: float) -> None:
        """Handle what came."""
        if self.connection is None:
            return
        try:
            for message in self.connection.read():
                self._handle(message, now)
        except EndpointError as error:
            self._log.end = str(error)
        if not self.connection.is_open or self.is_over:
            self._hang_up()
            self._connect_at = now + RECONNECT_S

    def step(self, now: float) -> None:
        """Steer the player; connect again if the connection broke."""
        if self.is_over:
            return
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            self._player.tick(now)
        if self.connection is None and now >= self._connect_at:
            self._log.reconnections += 1
            self._connect(now)

    def sample(self, now: float) -> None:
        """Note how far it is behind its owner."""
        second = self._player.second(now)
        if second is not None and not self.is_over:
            self._log.delays_s.append(round(self._owner_second(now) - second, 3))

    def close(self, now: float) -> None:
        """Leave."""
        self._player.finish(now)
        self._log.left_at = self._log.left_at or now
        self._hang_up()

    def result(self) -> WatcherResult:
        """What it got."""
        log = self._log
        until = log.left_at or log.asked_at
        stalls, longest = stall_figures(self._player.stalls)
        return WatcherResult(
            watcher=self._name,
            first_picture_s=None if log.first_at is None else round(log.first_at - log.asked_at, 3),
            seconds=0.0 if log.first_at is None else round(until - log.first_at, 1),
            stalls=stalls,
            longest_stall_s=longest,
            jumps=self._player.jumps,
            delays_s=tuple(log.delays_s),
            bytes_per_s=round(log.num_bytes / max(until - log.asked_at, 1e-9)),
            reconnections=log.reconnections,
            end=log.end,
        )

    def _connect(self, now: float) -> None:
        try:
            self.connection = WatcherConnection(self._url)
            self._selector.register(self.connection, EVENT_READ, self)
        except EndpointError as error:
            self._log.end, self._log.left_at = str(error), now

    def _hang_up(self) -> None:
        if self.connection is not None:
            self._selector.unregister(self.connection)
            self._log.num_bytes += self.connection.num_bytes
            self.connection.close()
            self.connection = None

    def _handle(self, message: dict[str, Any], now: float) -> None:
        player = self._player
        match message["kind"]:
            case "hello" if message["take"] == self._take:
                player.drop_from(now, float(message["second"]))
            case "hello":
                self._take = message["take"]
                player.open(now)
            case "segment":
                start_s = message["first_frame"] / message["fps"]
                player.add(now, start_s, start_s + message["num_frames"] / message["fps"])
            case "rewind":
                player.drop_from(now, float(message["second"]))
            case "state":
                player.hear(now, float(message["at"]), bool(message["is_playing"]))
            case "closed":
                self._log.end = "The owner has closed the video."
        if self._log.first_at is None and player.second(now) is not None:
            self._log.first_at = now
