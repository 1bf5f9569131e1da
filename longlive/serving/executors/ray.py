"""Runs made in Ray actors, one per GPU or machine: placed by load, they stay put, and move on failure.

executor = RayExecutor("longlive-1.3b", RuntimeOptions(), address="10.0.0.1:6379")
executor.warm_up()                      # every actor has loaded the model and made a chunk
handle = executor.start(job)            # on the actor with the most free slots

The process of the page loads no weights. An actor that dies, or is silent for too long, loses its runs
(LostError) and no others, and another is started in its place.
"""

import contextlib
import dataclasses
import itertools
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from longlive.errors import LongLiveError, LostError
from longlive.runtime.startup import ProgressCallback, RuntimeOptions, start
from longlive.serving.executors.events import ExecutorEvent
from longlive.serving.executors.executor import Executor, StreamHandle
from longlive.serving.executors.job import Job
from longlive.serving.executors.mailbox import deferred
from longlive.serving.executors.messages import Message, Prompt, Reschedule, Stop
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.packed import Packed
from longlive.serving.executors.ray_cluster import CHECK_INTERVAL_S, MAX_RUNS, Actor, ActorState, Cluster
from longlive.serving.executors.thread import ThreadExecutor
from longlive.weights.registry import resolve

logger = logging.getLogger(__name__)

Build = Callable[[ProgressCallback], Executor]

STARTED_CHUNK_TIMEOUT_S = 0.05
POST_TIMEOUT_S = 2.0
MAX_RESTART_DELAY_S = 60.0


class RayExecutor:
    """Makes runs in the actors of a Ray cluster; see Executor."""

    name = "ray"

    def __init__(
        self,
        model: str,
        options: RuntimeOptions,
        *,
        actors: int | None = None,
        address: str | None = None,
        build: Build | None = None,
        progress: ProgressCallback = logger.info,
    ) -> None:
        """Join a cluster, or start Ray on this machine, and let the actors load the model.

        Args:
            model: by the name, folder or Hub id by which every machine finds it.
            options: how each actor runs it.
            actors: how many; None: one per GPU of the cluster or, on CPUs, one per machine.
            address: of the cluster's head; None: what this process has joined, or RAY_ADDRESS, or our own.
            build: makes the executor of an actor, in its process; None: a warm ThreadExecutor.
            progress: gets a line for each thing that takes time, until all are warm.

        Raises:
            CheckpointError, ConfigError: naming what is missing or impossible.
            LostError: if the cluster cannot be reached, or does not suffice.
        """
        folder = resolve(model)
        self.config, self.card = folder.config, folder.card
        self._progress, self._lock = progress, threading.Lock()
        self._closing = threading.Event()
        self._cluster = Cluster(options, actors, address)
        self._build = build or partial(warm_thread_executor, model, options)
        self._actors = [
            Actor(self._cluster, Worker, self._build, number) for number in range(self._cluster.num_actors)
        ]
        self._keepers = [
            threading.Thread(target=self._keep, args=(actor,), name="longlive-ray", daemon=True)
            for actor in self._actors
        ]
        for keeper in self._keepers:
            keeper.start()

    def describe(self) -> dict[str, Any]:
        """What ``describe_models`` says of the model; nothing where no actor is alive and warm."""
        return next((dict(actor.state.model) for actor in self._actors if actor.is_warm), {})

    def capacity(self) -> int:
        """How many runs the actors that are alive and warm can make together."""
        return sum(actor.capacity for actor in self._actors)

    def start(self, job: Job) -> "RayHandle":
        """Begin a job on the actor with the most free slots.

        Raises:
            LostError: if there is none just now.
        """
        with self._lock:
            warm = [actor for actor in self._actors if actor.is_warm]
            if not warm:
                raise LostError("No worker is alive just now; others are being started.")
            handle = RayHandle(max(warm, key=lambda actor: actor.capacity - len(actor.handles)))
        logger.info("run %s: on worker %d", job.name, handle.worker + 1)
        handle.begin(job)
        return handle

    def warm_up(self) -> None:
        """Wait until every actor has loaded the model.

        Raises:
            LongLiveError: of the first actor that failed; the executor is closed then.
        """
        try:
            for actor in tuple(self._actors):
                actor.wait()
        except BaseException:
            self.close()
            raise
        self._progress = logger.info

    def close(self) -> None:
        """End the actors, and Ray if it is our own."""
        self._closing.set()
        for actor in self._actors:
            actor.lose(LostError("The program is being closed."))
        for keeper in self._keepers:
            keeper.join()
        self._cluster.close()

    def _keep(self, actor: Actor) -> None:
        """Watch an actor, and start another in its place when it is lost; runs in a thread of its own."""
        delay_s = 0.0
        while not self._closing.wait(delay_s):
            if actor.is_lost:
                actor = self._actors[actor.number] = Actor(self._cluster, Worker, self._build, actor.number)
            delay_s = min(2 * delay_s + CHECK_INTERVAL_S, MAX_RESTART_DELAY_S)
            try:
                actor.warm_up(partial(self._pass_on, actor.number))
                delay_s = 0.0
                actor.watch()
            except LongLiveError as error:
                actor.lose(error)
                if not self._closing.is_set():
                    logger.warning("worker %d is lost: %s", actor.number + 1, error)
        actor.lose(LostError("The program is being closed."))

    def _pass_on(self, number: int, line: str) -> None:
        self._progress(f"worker {number + 1}: {line}")


class RayHandle:
    """A run that an actor makes; see StreamHandle. ``worker`` is the actor's number, from 0."""

    def __init__(self, actor: Actor) -> None:
        """Take a slot of the actor; ``begin`` comes next."""
        self.worker = actor.number
        self._actor = actor
        self._started_chunk = -1
        self._run: Any = None
        actor.handles.add(self)

    def begin(self, job: Job) -> None:
        """Send the job to the actor; LostError if it is lost already."""
        state = job.resume
        latents = () if state is None else tuple(map(Packed.of, state.latents))
        if state is not None:
            self._started_chunk = len(latents) - 1
            job = dataclasses.replace(job, resume=dataclasses.replace(state, latents=()))
        try:
            self._run = self._actor.send("start", job, latents)
        except LostError:
            self._actor.handles.discard(self)
            raise

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; of a lost worker, as far as is known."""
        with contextlib.suppress(LostError):
            answer = self._actor.ask("started_chunk", self._run, timeout=STARTED_CHUNK_TIMEOUT_S)
            self._started_chunk = max(self._started_chunk, answer)
        return self._started_chunk

    def post(self, message: Message) -> Message:
        """Send a message; returns it as ``Mailbox.post`` does.

        What a lost worker does not take is for the worker that goes on with the run.
        """
        try:
            if isinstance(message, Prompt | Reschedule):
                return self._actor.ask("post", self._run, message, timeout=POST_TIMEOUT_S)
            self._actor.send("post", self._run, message)
        except LostError:
            if isinstance(message, Prompt):
                return dataclasses.replace(message, chunk=max(message.chunk, self._started_chunk + 1))
            if isinstance(message, Reschedule):
                return deferred(message, self._started_chunk)
        return message

    def events(self) -> Iterator[ExecutorEvent]:
        """What is made, as it is made; LostError if the worker is gone."""
        is_over = False
        try:
            yield from self._actor.stream(self._run)
            is_over = True
        finally:
            self._actor.handles.discard(self)
            if not is_over:
                self.post(Stop("closed"))


class Worker:
    """What lives in the process of an actor: an executor of its own, and the runs that it makes."""

    def __init__(self, build: Build) -> None:
        """Nothing is loaded before ``warm_up``."""
        self._build = build
        self._executor: Executor | None = None
        self._handles: dict[int, StreamHandle] = {}
        self._numbers = itertools.count()
        self._lines: list[str] = []

    def warm_up(self) -> str:
        """Load the model and make a first chunk; returns the error's message, empty if there is none."""
        try:
            self._executor = self._build(self._lines.append)
        except LongLiveError as error:
            return str(error)
        return ""

    def state(self) -> ActorState:
        """Its capacity, and what it has reported so far."""
        capacity = min(self._executor.capacity(), MAX_RUNS) if self._executor else 0
        model = self._executor.describe() if self._executor else {}
        return ActorState(capacity, tuple(self._lines), socket.gethostname(), os.getpid(), model)

    def start(self, job: Job, latents: Sequence["Packed"] = ()) -> int:
        """The number of a new run; the latents of a resumed one come apart from the job."""
        assert self._executor is not None, "not warm"
        if job.resume is not None:
            state = dataclasses.replace(job.resume, latents=tuple(one.tensor() for one in latents))
            job = dataclasses.replace(job, resume=state)
        number = next(self._numbers)
        self._handles[number] = self._executor.start(job)
        return number

    def started_chunk(self, number: int) -> int:
        """The chunk of a run that was started last; -1 if it is over."""
        handle = self._handles.get(number)
        return handle.started_chunk if handle else -1

    def post(self, number: int, message: Message) -> Message:
        """Send a message to a run; one that is over ignores it."""
        handle = self._handles.get(number)
        return handle.post(message) if handle else message

    def events(self, number: int) -> Iterator[ExecutorEvent]:
        """What is made of a run, as it is made."""
        try:
            yield from self._handles[number].events()
        finally:
            del self._handles[number]


def warm_thread_executor(model: str, options: RuntimeOptions, progress: ProgressCallback) -> ThreadExecutor:
    """A warm executor of this process; errors as for ``startup.start``."""

    def prepare(models: Any) -> ThreadExecutor:
        executor = ThreadExecutor(ModelRunner(models))
        executor.warm_up()
        return executor

    return start(model, options, progress, prepare=prepare)
