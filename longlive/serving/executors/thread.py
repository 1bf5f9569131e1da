"""Runs made in threads of this process."""

from typing import Any

from longlive.config import ModelConfig
from longlive.generation.session_file import describe_models
from longlive.models.model_card import ModelCard
from longlive.serving.executors.job import Job
from longlive.serving.executors.mailbox import MemoryMailbox
from longlive.serving.executors.messages import Prompt
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
        num_chunks = len(job.resume.latents) if job.resume else 0
        return StreamWorker(job, MemoryMailbox(started_chunk=num_chunks - 1), self.runner)

    def warm_up(self) -> None:
        """Make some chunks that nobody sees."""
        self.runner.warm_up(WARM_UP_JOB)

    def close(self) -> None:
        """Nothing is held beyond the runs."""
