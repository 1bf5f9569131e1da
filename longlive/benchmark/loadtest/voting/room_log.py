"""What one voter saw of the room: which chunks are missing, and when a prompt that had won was seen."""

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass
class _Won:
    text: str
    at: float
    seen_at: float | None = None


@dataclass
class RoomLog:
    """One voter's view; to be fed with the messages of ``/watch/room/live``.

    Attributes:
        take: name of the run that is shown; ``takes``, how many were.
        next_chunk: the first that has not come yet.
        missing: chunks that never came, though those after them did.
        num_chunks: that came.
        rounds: that were seen to end.
        numbers: of the proposals that wait.
    """

    take: str = ""
    takes: int = 0
    next_chunk: int = 0
    missing: int = 0
    num_chunks: int = 0
    rounds: int = 0
    numbers: frozenset[int] = frozenset()
    _won: list[_Won] = field(default_factory=list)
    _round: int = 0

    def feed(self, message: Message, now: float) -> None:
        """Take in a message that came at ``now``, seconds of any clock."""
        match message["kind"]:
            case "hello":
                self._open(message)
                self._hear(message, now)
            case "news":
                self._hear(message, now)
            case "rewind":
                self.next_chunk = min(self.next_chunk, message["chunk"])
            case "segment":
                self._add(message, now)

    def delays_s(self) -> list[float]:
        """Seconds from the end of a round to the first pictures of the prompt that had won."""
        return [won.seen_at - won.at for won in self._won if won.seen_at is not None]

    def num_unseen(self, now: float, patience_s: float) -> int:
        """Prompts that had won and were not seen, though there were ``patience_s`` for that."""
        return sum(won.seen_at is None and now - won.at > patience_s for won in self._won)

    @property
    def num_won(self) -> int:
        """Prompts that had won."""
        return len(self._won)

    def _open(self, message: Message) -> None:
        take, chunk = message["take"], message["chunk"]
        if take == self.take:
            self.missing += max(0, chunk - self.next_chunk)
        elif self.takes:
            self.missing += chunk  # a run that follows is seen from its beginning
        self.takes += take != self.take
        self.take, self.next_chunk = take, chunk

    def _add(self, message: Message, now: float) -> None:
        chunk = message["chunk"]
        self.missing += max(0, chunk - self.next_chunk)
        self.next_chunk = max(self.next_chunk, chunk)
        if message["ends_chunk"]:
            self.next_chunk = chunk + 1
            self.num_chunks += 1
        for won in self._won:
            if won.seen_at is None and won.text == message["prompt"]:
                won.seen_at = now

    def _hear(self, message: Message, now: float) -> None:
        self.numbers = frozenset(one["number"] for one in message["proposals"])
        number, chosen = message["round"]["number"], message["chosen"]
        if self._round and number > self._round:
            self.rounds += number - self._round
            if chosen and chosen["votes"]:
                self._won.append(_Won(chosen["text"], now))
        self._round = number
