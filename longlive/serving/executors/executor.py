"""Who carries a run: a thread of this process; other carriers (ZeroGPU, Ray) keep the same contract.

carrier.start(order) -> Carriage: messages in (prompt, playhead, stop), reports out.
"""

from collections.abc import Iterator
from typing import Protocol

from longlive.config import ModelConfig
from longlive.models.model_card import ModelCard
from longlive.serving.executors.events import ExecutorEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Message


class StreamHandle(Protocol):
    """A run while it is carried."""

    @property
    def begun(self) -> int:
        """The chunk that has begun last; -1 before the first."""

    def post(self, message: Message) -> Message:
        """Leave a message; a prompt is put off to the first chunk that has not begun, and returned so."""

    def reports(self) -> Iterator[ExecutorEvent]:
        """What is made, as it is made, for one reader; the last is Ended or Yielded.

        Raises:
            LostError: if whoever made it is gone.
        """


class Executor(Protocol):
    """Makes what is ordered.

    Attributes:
        name: ``thread``, ``zerogpu`` or ``ray``.
        config, card: of the model.
    """

    name: str
    config: ModelConfig
    card: ModelCard

    def room(self) -> int:
        """How many runs it can carry at once in real time, at its measured speed, and has memory for."""

    def start(self, order: Job) -> StreamHandle:
        """Begin; returns at once."""

    def warm_up(self) -> None:
        """Do one-off work before the first viewer comes."""

    def close(self) -> None:
        """Let go of everything; the carriages have ended before."""
