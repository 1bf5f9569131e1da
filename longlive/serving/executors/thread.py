"""Runs made in threads of this process."""

from collections.abc import Iterator

from longlive.config import ModelConfig
from longlive.models.model_card import ModelCard
from longlive.serving.executors.events import ExecutorEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.mailbox import Mailbox, MemoryMailbox
from longlive.serving.executors.messages import Message, Prompt
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.stream_worker import StreamWorker
from longlive.serving.limits import Limits

WARM_UP = Job(name="warm-up", seed=0, prompts=(Prompt("a warm-up"),), limits=Limits())


class LocalCarriage:
    """A run that is made by whoever reads its reports."""

    def __init__(self, mailbox: Mailbox, producer: StreamWorker) -> None:
        """Nothing happens before ``reports``."""
        self._mailbox, self._producer = mailbox, producer

    @property
    def begun(self) -> int:
        """As in Carriage."""
        return self._mailbox.begun

    def post(self, message: Message) -> Message:
        """As in Carriage."""
        return self._mailbox.post(message)

    def reports(self) -> Iterator[ExecutorEvent]:
        """As in Carriage."""
        return self._producer.reports()


class ThreadExecutor:
    """Carries runs in threads of this process, over one model."""

    name = "thread"

    def __init__(self, studio: ModelRunner) -> None:
        """Work in ``studio``."""
        self.studio = studio
        self.config: ModelConfig = studio.models.config
        self.card: ModelCard = studio.models.card

    def room(self) -> int:
        """As in Carrier."""
        return self.studio.room()

    def start(self, order: Job) -> LocalCarriage:
        """As in Carrier."""
        first = len(order.past.latents) if order.past else 0
        mailbox = MemoryMailbox(begun=first - 1)
        return LocalCarriage(mailbox, StreamWorker(order, mailbox, self.studio))

    def warm_up(self) -> None:
        """As in Carrier."""
        self.studio.warm_up(WARM_UP)

    def close(self) -> None:
        """As in Carrier."""
