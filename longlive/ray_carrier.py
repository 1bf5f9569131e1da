"""Carries runs in Ray actors, one per GPU or machine: they are placed by load, stay put, and move on failure.

carrier = RayCarrier("longlive-1.3b", Choices(), address="10.0.0.1:6379")
carrier.warm_up()                       # every actor has loaded the model and made a chunk
carriage = carrier.start(order)         # on the actor that has most room left

The process of the page loads no weights. An actor that dies, or is silent for too long, loses its carriages
(LostError) and no others, and another is started in its place. ``ray`` is imported only when it is used.
"""

import contextlib
import dataclasses
import itertools
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from longlive.carriers import Carriage, Carrier, ThreadCarrier
from longlive.checkpoints import read_config
from longlive.errors import ConfigError, LongLiveError, LostError
from longlive.hub import find_model
from longlive.layout import FACTS, read_json
from longlive.mailbox import Message, Prompt, Stop
from longlive.model_card import ModelCard
from longlive.orders import Order, Report
from longlive.startup import Choices, Tell, start
from longlive.studio import Studio

logger = logging.getLogger(__name__)

Build = Callable[[Tell], Carrier]

STORE_BYTES = 512 * 2**20
"""Of a Ray of our own, for values on their way; what does not fit goes by the disk."""

MOST_RUNS = 64
"""Of one actor: each holds a thread there."""

WAITING_REPORTS = 8
CHECK_S = 1.0
BEGUN_S = 0.05
POSTED_S = 2.0
SILENT_S = 10.0
LONGEST_PAUSE_S = 60.0


class RayCarrier:
    """Carries runs in the actors of a Ray cluster."""

    name = "ray"

    def __init__(
        self,
        model: str,
        choices: Choices,
        *,
        actors: int | None = None,
        address: str | None = None,
        build: Build | None = None,
        tell: Tell = logger.info,
    ) -> None:
        """Join a cluster, or start Ray on this machine, and let the actors load the model.

        Args:
            model: by the name, folder or Hub id by which every machine finds it.
            choices: how each actor runs it.
            actors: how many; None: one per GPU of the cluster or, on CPUs, one per machine.
            address: of the cluster's head; None: what this process has joined, or Ray of our own.
            build: makes the carrier of an actor, in its process; None: a warm ThreadCarrier.
            tell: is given lines for people until all are warm.

        Raises:
            CheckpointError, ConfigError: naming what is missing or impossible.
            LostError: if the cluster cannot be reached, or does not suffice.
        """
        folder = find_model(model)
        self.config = read_config(folder)
        self.card = ModelCard.of(read_json(folder / FACTS).get("card", {}))
        self._tell = tell
        self._closing = threading.Event()
        self._ray = Cluster(choices, actors, address)
        build = build or partial(thread_carrier, model, choices)
        self._actors = [_Actor(self._ray, build, number) for number in range(self._ray.num_actors)]
        self._keepers = [
            threading.Thread(target=self._keep, args=(actor, build), name="longlive-ray", daemon=True)
            for actor in self._actors
        ]
        for keeper in self._keepers:
            keeper.start()

    def room(self) -> int:
        """As in Carrier: the sum over the actors that live and are warm."""
        return sum(actor.room for actor in self._actors)

    def start(self, order: Order) -> "RayCarriage":
        """As in Carrier: on the actor that has most room left.

        Raises:
            LostError: if there is none just now.
        """
        warm = [actor for actor in self._actors if actor.is_warm]
        if not warm:
            raise LostError("No worker is there just now; others are being started.")
        return RayCarriage(max(warm, key=lambda actor: actor.room - actor.num_carried), order)

    @property
    def workers(self) -> "tuple[State, ...]":
        """What the actors told last."""
        return tuple(actor.state for actor in self._actors)

    def warm_up(self) -> None:
        """As in Carrier: wait for every actor.

        Raises:
            LongLiveError: in the words of the first actor that failed.
        """
        for actor in self._actors:
            actor.wait()
        self._tell = logger.info

    def close(self) -> None:
        """As in Carrier: end the actors, and Ray if it is our own."""
        self._closing.set()
        for actor in self._actors:
            actor.lose(LostError("The program is being closed."))
        for keeper in self._keepers:
            keeper.join()
        self._ray.close()

    def _keep(self, actor: "_Actor", build: Build) -> None:
        """What the thread of an actor's place does: watch it, and start another when it is lost."""
        pause_s = CHECK_S
        while not self._closing.is_set():
            try:
                actor.warm_up(lambda line, number=actor.number: self._tell(f"worker {number + 1}: {line}"))
                pause_s = CHECK_S
                actor.watch()
            except LongLiveError as error:
                actor.lose(error)
                if not self._closing.is_set():
                    logger.warning("worker %d is lost: %s", actor.number + 1, error)
            if not self._closing.wait(pause_s):
                actor = self._actors[actor.number] = _Actor(self._ray, build, actor.number)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class RayCarriage:
    """A run that is carried by an actor; ``worker`` is its number, from 0."""

    def __init__(self, actor: "_Actor", order: Order) -> None:
        """Give the order to the actor; nothing is waited for."""
        self.worker = actor.number
        self._actor = actor
        self._begun = len(order.past.latents) - 1 if order.past else -1
        self._run = actor.send("start", order)
        actor.num_carried += 1

    @property
    def begun(self) -> int:
        """As in Carriage; of a lost worker, as far as is known."""
        with contextlib.suppress(LostError):
            self._begun = max(self._begun, self._actor.ask("begun", self._run, timeout=BEGUN_S))
        return self._begun

    def post(self, message: Message) -> Message:
        """As in Carriage; what the worker does not answer to is for whoever goes on with the run."""
        if not isinstance(message, Prompt):
            self._actor.send("post", self._run, message)
            return message
        try:
            return self._actor.ask("post", self._run, message, timeout=POSTED_S)
        except LostError:
            return dataclasses.replace(message, chunk=max(message.chunk, self._begun + 1))

    def reports(self) -> Iterator[Report]:
        """As in Carriage."""
        is_over = False
        try:
            yield from self._actor.stream(self._run)
            is_over = True
        finally:
            self._actor.num_carried -= 1
            if not is_over:
                self.post(Stop("Nobody reads any more.", keep=False))


@dataclass(frozen=True)
class State:
    """What an actor tells of itself.

    Attributes:
        room: 0 until it is warm.
        lines: all that it has said since the start.
        machine, process: where it lives.
    """

    room: int
    lines: tuple[str, ...]
    machine: str
    process: int


class Worker:
    """What lives in the process of an actor: a carrier of its own, and the runs that it carries."""

    def __init__(self, build: Build) -> None:
        """Nothing is loaded before ``warm_up``."""
        self._build = build
        self._carrier: Carrier | None = None
        self._carriages: dict[int, Carriage] = {}
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

    def start(self, order: Order) -> int:
        """The number of a new run."""
        assert self._carrier is not None, "not warm"
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

    def reports(self, number: int) -> Iterator[Report]:
        """What is made of a run, as it is made."""
        try:
            yield from self._carriages[number].reports()
        finally:
            del self._carriages[number]


def thread_carrier(model: str, choices: Choices, tell: Tell) -> ThreadCarrier:
    """A warm carrier of this process; errors as for ``startup.start``."""

    def prepare(models: Any) -> ThreadCarrier:
        carrier = ThreadCarrier(Studio(models))
        carrier.warm_up()
        return carrier

    return start(model, choices, tell, prepare=prepare)


class Cluster:
    """Ray itself: a cluster that was joined, or one of our own on this machine.

    Attributes:
        ray: the package.
        folder: of our own Ray, else None.
        num_actors: how many are wanted.
    """

    def __init__(self, choices: Choices, actors: int | None, address: str | None) -> None:
        """Join the cluster at ``address`` or start one, for so many actors; errors as for RayCarrier."""
        if (choices.device or "").startswith("cuda:"):
            cure = "Ray deals out the GPUs: write cuda."
            raise ConfigError("device", choices.device, "a worker takes the GPU that it is given", cure)
        self.folder: Path | None = None
        self._is_ours = True
        self._threads = choices.threads or 1
        self.ray = _imported(is_ours=address is None)
        self._begin(address, actors)
        try:
            total = self.ray.cluster_resources()
            self._on_gpu = choices.device != "cpu" and (bool(total.get("GPU")) or choices.device is not None)
            self.num_actors = actors or self._usual()
            self._check(total)
        except LongLiveError:
            self.close()
            raise

    def actor(self, build: Build) -> Any:
        """A handle of a new Worker; its process is being started."""
        groups = self.ray.remote(concurrency_groups={"runs": MOST_RUNS})
        needs = {"num_cpus": self._threads, "num_gpus": int(self._on_gpu), "scheduling_strategy": "SPREAD"}
        return groups(Worker).options(**needs).remote(build)

    def close(self) -> None:
        """Leave the cluster, unless this process had joined it before; end Ray if it is our own."""
        if self._is_ours:
            self.ray.shutdown()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, address: str | None, actors: int | None) -> None:
        """Connect this process."""
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.ray.is_initialized():
            self._is_ours = False
            return
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if address is None:
                self.folder = Path(tempfile.mkdtemp(prefix="longlive-ray-"))
                own = {"num_cpus": self._threads * (actors or max(1, _num_gpus()))}
                own |= {"object_store_memory": STORE_BYTES, "_temp_dir": str(self.folder)}
                own["include_dashboard"] = False
                self.ray.init("local", **own, **quiet)
            else:
                self.ray.init(address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise LostError(
                f"Ray cannot be reached at {address or 'this machine'}: {error}. Check that `ray status` "
                "works, that the versions of Ray and Python are the same everywhere, and that "
                "RAY_AUTH_MODE=token is set where the cluster asks for its token."
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)

    def _usual(self) -> int:
        """One actor per GPU or, on CPUs, per machine."""
        if self._on_gpu:
            return max(1, int(self.ray.cluster_resources().get("GPU", 0)))
        return sum(node["Alive"] for node in self.ray.nodes())

    def _check(self, total: dict[str, float]) -> None:
        """Whether all actors find a place: Ray would wait for ever."""
        needed = {"GPU": self.num_actors * self._on_gpu, "CPU": self.num_actors * self._threads}
        for what, number in needed.items():
            if number > total.get(what, 0):
                raise LostError(
                    f"{self.num_actors} workers need {number} {what}s, but the cluster has "
                    f"{total.get(what, 0):.0f}. Ask for fewer workers, or add machines to the cluster."
                )


class _Actor:
    """One actor, as this process knows it; once it is lost, it stays so.

    Attributes:
        number: of its place.
        num_carried: runs that it carries now.
        state: what it told last.
    """

    def __init__(self, cluster: Cluster, build: Build, number: int) -> None:
        """Its process is being started."""
        self.number, self.num_carried = number, 0
        self._ray = cluster.ray
        self._handle = cluster.actor(build)
        self.state = State(0, (), "", 0)
        self._settled, self._lost = threading.Event(), threading.Event()
        self._error: LongLiveError = LostError("")

    @property
    def is_warm(self) -> bool:
        """Whether it can carry runs."""
        return self._settled.is_set() and not self._lost.is_set()

    @property
    def room(self) -> int:
        """How many runs it can carry; 0 before it is warm, and when it is lost."""
        return self.state.room if self.is_warm else 0

    def warm_up(self, tell: Tell) -> None:
        """Wait until it has loaded the model, handing on what it says.

        Raises:
            LongLiveError: in its words, if it failed.
        """
        warming, told = self.send("warm_up", group="runs"), 0
        while not self._lost.is_set():
            ready, _ = self._ray.wait([warming], timeout=CHECK_S)
            self.state = self._get(self.send("state"), None)
            for line in self.state.lines[told:]:
                tell(line)
            told = len(self.state.lines)
            if ready:
                break
        if words := self._get(warming, None):
            raise LongLiveError(words)
        self._settled.set()
        tell(f"room for {self.room}, in process {self.state.process} on {self.state.machine}")

    def wait(self) -> None:
        """Wait until it is warm; its error if it is lost before."""
        self._settled.wait()
        if self._lost.is_set():
            raise self._error

    def watch(self) -> None:
        """Ask it for its room again and again; LostError once it is lost."""
        while not self._lost.wait(CHECK_S):
            self.state = self.ask("state", timeout=SILENT_S)
        raise self._error

    def lose(self, error: LongLiveError) -> None:
        """It is gone, or is to go."""
        if not self._lost.is_set():
            self._error = error
            self._lost.set()
            self._settled.set()
        self._ray.kill(self._handle)

    def send(self, method: str, *arguments: Any, group: str | None = None) -> Any:
        """Call a method of the Worker and wait for nothing: a reference to its result."""
        return getattr(self._handle, method).options(concurrency_group=group).remote(*arguments)

    def ask(self, method: str, *arguments: Any, timeout: float) -> Any:
        """The result of a method that takes no time; LostError if it does not come."""
        return self._get(self.send(method, *arguments), timeout)

    def stream(self, run: Any) -> Iterator[Report]:
        """The reports of a run, which go no further ahead than ``WAITING_REPORTS``; LostError."""
        way = {"concurrency_group": "runs", "num_returns": "streaming"}
        limit = {"_generator_backpressure_num_objects": WAITING_REPORTS}
        stream = self._handle.reports.options(**way, **limit).remote(run)
        while True:
            ready, _ = self._ray.wait([stream], timeout=CHECK_S)
            if ready:
                try:
                    yield self._get(next(stream), SILENT_S)
                except StopIteration:
                    return
            elif self._lost.is_set():
                raise self._error

    def _get(self, reference: Any, timeout: float | None) -> Any:
        """A result; LostError if it does not come, and for good if the actor is gone."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference, timeout=timeout)
        except errors.RayTaskError as error:
            raise LostError(f"The worker failed: {error.cause!r}.") from error
        except errors.GetTimeoutError as error:
            raise LostError(f"The worker has not answered for {timeout:.0f} s.") from error
        except errors.RayError as error:
            self.lose(LostError(f"The worker is gone ({type(error).__name__})."))
            raise self._error from error


def _imported(*, is_ours: bool) -> Any:
    """Ray, which is to tell nobody of its use and, if it is our own, to let nobody in without a token."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_ours:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        cure = "pip install 'ray>=2.60,<3', or take another --carrier"
        raise LostError(f"Ray is not installed: {cure}.") from error
    return ray


def _num_gpus() -> int:
    """GPUs of this machine."""
    import torch

    return torch.cuda.device_count()
