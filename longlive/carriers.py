"""Who carries a run: a thread of this process; other carriers (ZeroGPU, Ray) keep the same contract.

carrier.start(order) -> Carriage: messages in (prompt, playhead, stop), reports out.
"""

from collections.abc import Iterator
from typing import Protocol

from longlive.config import ModelConfig
from longlive.limits import Limits
from longlive.mailbox import Mailbox, MemoryMailbox, Message, Prompt
from longlive.model_card import ModelCard
from longlive.orders import Order, Report
from longlive.producer import Producer
from longlive.studio import Studio

WARM_UP = Order(name="warm-up", seed=0, prompts=(Prompt("a warm-up"),), limits=Limits())


class Carriage(Protocol):
    """A run while it is carried."""

    @property
    def begun(self) -> int:
        """The chunk that has begun last; -1 before the first."""

    def post(self, message: Message) -> Message:
        """Leave a message; a prompt is put off to the first chunk that has not begun, and returned so."""

    def reports(self) -> Iterator[Report]:
        """What is made, as it is made, for one reader; the last is Ended or Yielded.

        Raises:
            LostError: if whoever made it is gone.
        """


class Carrier(Protocol):
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

    def start(self, order: Order) -> Carriage:
        """Begin; returns at once."""

    def warm_up(self) -> None:
        """Do one-off work before the first viewer comes."""

    def close(self) -> None:
        """Let go of everything; the carriages have ended before."""


class LocalCarriage:
    """A run that is made by whoever reads its reports."""

    def __init__(self, mailbox: Mailbox, producer: Producer) -> None:
        """Nothing happens before ``reports``."""
        self._mailbox, self._producer = mailbox, producer

    @property
    def begun(self) -> int:
        """As in Carriage."""
        return self._mailbox.begun

    def post(self, message: Message) -> Message:
        """As in Carriage."""
        return self._mailbox.post(message)

    def reports(self) -> Iterator[Report]:
        """As in Carriage."""
        return self._producer.reports()


class ThreadCarrier:
    """Carries runs in threads of this process, over one model."""

    name = "thread"

    def __init__(self, studio: Studio) -> None:
        """Work in ``studio``."""
        self.studio = studio
        self.config: ModelConfig = studio.models.config
        self.card: ModelCard = studio.models.card

    def room(self) -> int:
        """As in Carrier."""
        return self.studio.room()

    def start(self, order: Order) -> LocalCarriage:
        """As in Carrier."""
        first = len(order.past.latents) if order.past else 0
        mailbox = MemoryMailbox(begun=first - 1)
        return LocalCarriage(mailbox, Producer(order, mailbox, self.studio))

    def warm_up(self) -> None:
        """As in Carrier."""
        self.studio.warm_up(WARM_UP)

    def close(self) -> None:
        """As in Carrier."""
