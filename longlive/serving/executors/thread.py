"""Runs made in threads of this process: with a model that stays in memory, or with models that take turns."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from longlive.config import ModelConfig
from longlive.generation.session_file import describe_models
from longlive.models.model_card import ModelCard
from longlive.runtime.memory import release
from longlive.serving.executors.events import ExecutorEvent, NoticeEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.mailbox import MemoryMailbox
from longlive.serving.executors.messages import Message, Prompt
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.stream_worker import StreamWorker
from longlive.serving.limits import Limits

WARM_UP_JOB = Job(name="warm-up", seed=0, prompts=(Prompt("a warm-up"),), limits=Limits())


class ThreadExecutor:
    """Makes runs in the threads that read them, over one model; see Executor."""

    name = "thread"

    def __init__(self, runner: ModelRunner) -> None:
        """Make runs with the model of ``runner``."""
        self.runner = runner
        self.config: ModelConfig = runner.models.config
        self.card: ModelCard = runner.models.card

    def describe(self) -> dict[str, Any]:
        """What ``describe_models`` says of the model."""
        return describe_models(self.runner.models)

    def capacity(self) -> int:
        """How many runs it can make at once in real time, at its measured speed and in its memory."""
        return self.runner.capacity()

    def start(self, job: Job) -> StreamWorker:
        """A worker that makes ``job`` in the thread that reads its events."""
        return StreamWorker(job, _mailbox_for(job), self.runner)

    def warm_up(self) -> None:
        """Make some chunks that nobody sees."""
        self.runner.warm_up(WARM_UP_JOB)

    def close(self) -> None:
        """Nothing is held beyond the runs."""


class MemorySlot:
    """The memory that several models take turns in; it holds one of them at a time."""

    def __init__(self) -> None:
        """Nothing is loaded."""
        self._held: tuple[object, ModelRunner] | None = None
        self._lock = threading.Lock()

    def get(self, owner: object) -> ModelRunner | None:
        """The owner's model, if it is the one that is loaded."""
        held = self._held
        return held[1] if held is not None and held[0] is owner else None

    def load(self, owner: object, load: Callable[[], ModelRunner]) -> ModelRunner:
        """The owner's model, loaded in place of another one, which streams that use it keep until they end.

        Raises:
            LongLiveError: if it cannot be loaded; nothing is loaded then.
        """
        with self._lock:
            runner = self.get(owner)
            if runner is None:
                self._held = None
                release()
                runner = load()
                self._held = (owner, runner)
            return runner

    def clear(self) -> None:
        """Let go of what is loaded; waits for nothing, not even for a model that is being loaded."""
        self._held = None
        release()


class OnDemandExecutor:
    """Like ThreadExecutor, over a model that is loaded when a run of it begins; see Executor."""

    name = "thread"

    def __init__(
        self, config: ModelConfig, card: ModelCard, load: Callable[[], ModelRunner], slot: MemorySlot
    ) -> None:
        """Make runs with a model.

        Args:
            config, card: of the model.
            load: loads it, and makes some chunks that nobody sees.
            slot: where it is kept until another model is loaded there.
        """
        self.config, self.card = config, card
        self._load, self._slot = load, slot
        self._capacity, self._described = 1, dict[str, Any]()

    def capacity(self) -> int:
        """How many runs it can make at once; as it was last, while it is not loaded, and 1 before that."""
        runner = self._slot.get(self)
        if runner is not None:
            self._capacity = runner.capacity()
        return self._capacity

    def start(self, job: Job) -> "OnDemandStream":
        """A stream that loads the model, if it is not loaded, in the thread that reads its events."""
        return OnDemandStream(job, self)

    def load(self) -> ModelRunner:
        """The model, loaded now if need be; LongLiveError if it cannot be."""
        return self._slot.load(self, self._load)

    def describe(self) -> dict[str, Any]:
        """What ``describe_models`` says of the model; as it was last, while it is not loaded."""
        runner = self._slot.get(self)
        if runner is not None:
            self._described = describe_models(runner.models)
        return self._described

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._slot.get(self) is not None

    def warm_up(self) -> None:
        """Nothing: a model is warmed up when it is loaded."""

    def close(self) -> None:
        """Let go of whatever model is loaded."""
        self._slot.clear()


class OnDemandStream:
    """A run of a model that may have to be loaded first; see StreamHandle."""

    def __init__(self, job: Job, executor: OnDemandExecutor) -> None:
        """Nothing happens before ``events``."""
        self._job, self._executor, self._mailbox = job, executor, _mailbox_for(job)

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; -1 before the first."""
        return self._mailbox.started_chunk

    def post(self, message: Message) -> Message:
        """Send a message; returns it, a prompt moved to the first chunk that has not started."""
        return self._mailbox.post(message)

    def events(self) -> Iterator[ExecutorEvent]:
        """Load the model if need be, and make the run; LongLiveError if the model cannot be loaded."""
        if not self._executor.is_loaded:
            yield NoticeEvent("model_loading")
        yield from StreamWorker(self._job, self._mailbox, self._executor.load()).events()


def _mailbox_for(job: Job) -> MemoryMailbox:
    num_chunks = len(job.resume.latents) if job.resume else 0
    return MemoryMailbox(started_chunk=num_chunks - 1)
