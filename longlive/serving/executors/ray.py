"""Carries runs in Ray actors, one per GPU or machine: they are placed by load, stay put, and move on failure.

carrier = RayCarrier("longlive-1.3b", Choices(), address="10.0.0.1:6379")
carrier.warm_up()                       # every actor has loaded the model and made a chunk
carriage = carrier.start(order)         # on the actor that has most room left

The process of the page loads no weights. An actor that dies, or is silent for too long, loses its carriages
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
from longlive.serving.executors.messages import Message, Prompt, Stop
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.packed import Packed
from longlive.serving.executors.ray_cluster import CHECK_S, MOST_RUNS, Actor, Cluster, State
from longlive.serving.executors.thread import ThreadExecutor
from longlive.weights.registry import resolve

logger = logging.getLogger(__name__)

Build = Callable[[ProgressCallback], Executor]

BEGUN_S = 0.05
POSTED_S = 2.0
LONGEST_PAUSE_S = 60.0


class RayExecutor:
    """Carries runs in the actors of a Ray cluster."""

    name = "ray"

    def __init__(
        self,
        model: str,
        choices: RuntimeOptions,
        *,
        actors: int | None = None,
        address: str | None = None,
        build: Build | None = None,
        tell: ProgressCallback = logger.info,
    ) -> None:
        """Join a cluster, or start Ray on this machine, and let the actors load the model.

        Args:
            model: by the name, folder or Hub id by which every machine finds it.
            choices: how each actor runs it.
            actors: how many; None: one per GPU of the cluster or, on CPUs, one per machine.
            address: of the cluster's head; None: what this process has joined, or RAY_ADDRESS, or our own.
            build: makes the carrier of an actor, in its process; None: a warm ThreadCarrier.
            tell: is given lines for people until all are warm.

        Raises:
            CheckpointError, ConfigError: naming what is missing or impossible.
            LostError: if the cluster cannot be reached, or does not suffice.
        """
        folder = resolve(model)
        self.config, self.card = folder.config, folder.card
        self._tell, self._lock = tell, threading.Lock()
        self._closing = threading.Event()
        self._cluster = Cluster(choices, actors, address)
        self._build = build or partial(thread_carrier, model, choices)
        self._actors = [
            Actor(self._cluster, Worker, self._build, number) for number in range(self._cluster.num_actors)
        ]
        self._keepers = [
            threading.Thread(target=self._keep, args=(actor,), name="longlive-ray", daemon=True)
            for actor in self._actors
        ]
        for keeper in self._keepers:
            keeper.start()

    @property
    def workers(self) -> tuple[State, ...]:
        """What the actors told last."""
        return tuple(actor.state for actor in self._actors)

    def room(self) -> int:
        """As in Carrier: the sum over the actors that live and are warm."""
        return sum(actor.room for actor in self._actors)

    def start(self, order: Job) -> "RayHandle":
        """As in Carrier: on the actor that has most room left.

        Raises:
            LostError: if there is none just now.
        """
        with self._lock:
            warm = [actor for actor in self._actors if actor.is_warm]
            if not warm:
                raise LostError("No worker is there just now; others are being started.")
            carriage = RayHandle(max(warm, key=lambda actor: actor.room - len(actor.carried)))
        logger.info("run %s: on worker %d", order.name, carriage.worker + 1)
        carriage.begin(order)
        return carriage

    def warm_up(self) -> None:
        """As in Carrier: wait for every actor.

        Raises:
            LongLiveError: in the words of the first actor that failed; the carrier is closed then.
        """
        try:
            for actor in tuple(self._actors):
                actor.wait()
        except BaseException:
            self.close()
            raise
        self._tell = logger.info

    def close(self) -> None:
        """As in Carrier: end the actors, and Ray if it is our own."""
        self._closing.set()
        for actor in self._actors:
            actor.lose(LostError("The program is being closed."))
        for keeper in self._keepers:
            keeper.join()
        self._cluster.close()

    def _keep(self, actor: Actor) -> None:
        """What the thread of an actor's place does: watch it, and start another when it is lost."""
        pause_s = 0.0
        while not self._closing.wait(pause_s):
            if actor.is_lost:
                actor = self._actors[actor.number] = Actor(self._cluster, Worker, self._build, actor.number)
            pause_s = min(2 * pause_s + CHECK_S, LONGEST_PAUSE_S)
            try:
                actor.warm_up(partial(self._pass_on, actor.number))
                pause_s = 0.0
                actor.watch()
            except LongLiveError as error:
                actor.lose(error)
                if not self._closing.is_set():
                    logger.warning("worker %d is lost: %s", actor.number + 1, error)
        actor.lose(LostError("The program is being closed."))

    def _pass_on(self, number: int, line: str) -> None:
        self._tell(f"worker {number + 1}: {line}")


class RayHandle:
    """A run that is carried by an actor; ``worker`` is its number, from 0."""

    def __init__(self, actor: Actor) -> None:
        """Take a place on the actor; ``begin`` comes next."""
        self.worker = actor.number
        self._actor = actor
        self._begun = -1
        self._run: Any = None
        actor.carried.add(self)

    def begin(self, order: Job) -> None:
        """Give the order to the actor; LostError if it is lost already."""
        past = order.past
        latents = () if past is None else tuple(map(Packed.of, past.latents))
        if past is not None:
            self._begun = len(latents) - 1
            order = dataclasses.replace(order, past=dataclasses.replace(past, latents=()))
        try:
            self._run = self._actor.send("start", order, latents)
        except LostError:
            self._actor.carried.discard(self)
            raise

    @property
    def begun(self) -> int:
        """As in Carriage; of a lost worker, as far as is known."""
        with contextlib.suppress(LostError):
            self._begun = max(self._begun, self._actor.ask("begun", self._run, timeout=BEGUN_S))
        return self._begun

    def post(self, message: Message) -> Message:
        """As in Carriage; what the worker does not answer to is for whoever goes on with the run."""
        try:
            if isinstance(message, Prompt):
                return self._actor.ask("post", self._run, message, timeout=POSTED_S)
            self._actor.send("post", self._run, message)
        except LostError:
            if isinstance(message, Prompt):
                return dataclasses.replace(message, chunk=max(message.chunk, self._begun + 1))
        return message

    def reports(self) -> Iterator[ExecutorEvent]:
        """As in Carriage."""
        is_over = False
        try:
            yield from self._actor.stream(self._run)
            is_over = True
        finally:
            self._actor.carried.discard(self)
            if not is_over:
                self.post(Stop("Nobody reads any more.", keep=False))


class Worker:
    """What lives in the process of an actor: a carrier of its own, and the runs that it carries."""

    def __init__(self, build: Build) -> None:
        """Nothing is loaded before ``warm_up``."""
        self._build = build
        self._carrier: Executor | None = None
        self._carriages: dict[int, StreamHandle] = {}
        self._numbers = itertools.count()
        self._lines: list[str] = []

    def warm_up(self) -> str:
        """Load the model and make a first chunk; what went wrong in words, or nothing."""
        try:
            self._carrier = self._build(self._lines.append)
        except LongLiveError as error:
            return str(error)
        return ""

    def state(self) -> State:
        """How it is just now."""
        room = min(self._carrier.room(), MOST_RUNS) if self._carrier else 0
        return State(room, tuple(self._lines), socket.gethostname(), os.getpid())

    def start(self, order: Job, latents: Sequence["Packed"] = ()) -> int:
        """The number of a new run; its past latents come apart from the order."""
        assert self._carrier is not None, "not warm"
        if order.past is not None:
            past = dataclasses.replace(order.past, latents=tuple(one.tensor() for one in latents))
            order = dataclasses.replace(order, past=past)
        number = next(self._numbers)
        self._carriages[number] = self._carrier.start(order)
        return number

    def begun(self, number: int) -> int:
        """The chunk of a run that has begun last; -1 if it is over."""
        carriage = self._carriages.get(number)
        return carriage.begun if carriage else -1

    def post(self, number: int, message: Message) -> Message:
        """Leave a message for a run; one that is over leaves it as it is."""
        carriage = self._carriages.get(number)
        return carriage.post(message) if carriage else message

    def reports(self, number: int) -> Iterator[ExecutorEvent]:
        """What is made of a run, as it is made."""
        try:
            yield from self._carriages[number].reports()
        finally:
            del self._carriages[number]


def thread_carrier(model: str, choices: RuntimeOptions, tell: ProgressCallback) -> ThreadExecutor:
    """A warm carrier of this process; errors as for ``startup.start``."""

    def prepare(models: Any) -> ThreadExecutor:
        carrier = ThreadExecutor(ModelRunner(models))
        carrier.warm_up()
        return carrier

    return start(model, choices, tell, prepare=prepare)
