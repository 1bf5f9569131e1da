"""The Ray cluster, and its actors as the process of the page sees them.

``ray`` is an optional package; it is imported when a Cluster is made.
"""

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longlive.errors import ConfigError, LongLiveError, LostError
from longlive.runtime.startup import ProgressCallback, RuntimeOptions
from longlive.serving.executors.events import ExecutorEvent

OBJECT_STORE_BYTES = 2**30
"""Object store of a Ray of our own: 20 minutes of latents at full size; longer videos spill to disk."""

MAX_RUNS = 64
"""Of one actor: each holds a thread there."""

MAX_UNREAD_EVENTS = 8
CONNECT_TIMEOUT_S = 5.0
CHECK_INTERVAL_S = 1.0
ANSWER_TIMEOUT_S = 10.0


class Cluster:
    """A Ray cluster: one that was joined, or one of our own on this machine.

    Attributes:
        ray: the package.
        num_actors: how many are wanted.
    """

    def __init__(self, options: RuntimeOptions, actors: int | None, address: str | None) -> None:
        """Join the cluster at ``address`` or start one, for so many actors; errors as for RayExecutor."""
        if (options.device or "").startswith("cuda:"):
            cure = "Ray deals out the GPUs: write cuda."
            raise ConfigError("device", options.device, "a worker takes the GPU that it is given", cure)
        if actors is not None and actors < 1:
            raise ConfigError("actors", actors, "at least one is needed", "Leave it out for one per GPU.")
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._is_ours = True
        address = address or os.environ.get("RAY_ADDRESS")
        self._threads = options.threads or 1
        self.ray = _imported(is_ours=address is None)
        self._connect(address, actors)
        try:
            total = self.ray.cluster_resources()
            self._on_gpu = options.device != "cpu" and (bool(total.get("GPU")) or options.device is not None)
            self.num_actors = actors or self._default_actors()
            self._check(total)
        except LongLiveError:
            self.close()
            raise

    @property
    def folder(self) -> Path | None:
        """Where our own Ray keeps its sockets and logs."""
        return Path(self._scratch.name) if self._scratch else None

    def actor(self, worker: type, *arguments: Any) -> Any:
        """A handle of a new actor; its process is being started."""
        groups = self.ray.remote(concurrency_groups={"runs": MAX_RUNS})
        needs = {"num_cpus": self._threads, "num_gpus": int(self._on_gpu)}
        return groups(worker).options(**needs, scheduling_strategy="SPREAD").remote(*arguments)

    def close(self) -> None:
        """Leave the cluster, unless this process had joined it before; end Ray if it is our own."""
        if self._is_ours:
            self.ray.shutdown()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _connect(self, address: str | None, actors: int | None) -> None:
        """Connect this process."""
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.ray.is_initialized():
            self._is_ours = False
            return
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if address is None:
                self.ray.init("local", **self._local_settings(actors), **quiet)
            else:
                _check_reachable(address)
                self.ray.init(address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError, self.ray.exceptions.RayError) as error:
            raise LostError(
                f"Ray cannot be reached at {address or 'this machine'}: {str(error).splitlines()[0]} "
                "Check that `ray status` works, that the versions of Ray and Python are the same everywhere, "
                "and that RAY_AUTH_MODE=token is set where the cluster asks for its token."
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)

    def _local_settings(self, actors: int | None) -> dict[str, Any]:
        """The settings of our own Ray."""
        self._scratch = tempfile.TemporaryDirectory(prefix="longlive-ray-", ignore_cleanup_errors=True)
        return {
            "num_cpus": self._threads * (actors or max(1, _num_gpus())),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
            "_temp_dir": self._scratch.name,
        }

    def _default_actors(self) -> int:
        """One actor per GPU or, on CPUs, per machine that has enough of them."""
        if self._on_gpu:
            return max(1, int(self.ray.cluster_resources().get("GPU", 0)))
        free = [node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"]]
        return max(1, sum(cpus >= self._threads for cpus in free))

    def _check(self, total: dict[str, float]) -> None:
        """LostError if not all actors fit: Ray would wait for ever."""
        needed = {"GPU": self.num_actors * self._on_gpu, "CPU": self.num_actors * self._threads}
        for what, number in needed.items():
            if number > total.get(what, 0):
                raise LostError(
                    f"For --actors {self.num_actors} the cluster needs {what}: {number}, but it has "
                    f"{total.get(what, 0):.0f}. Ask for fewer, or add machines to the cluster."
                )


@dataclass(frozen=True)
class ActorState:
    """What an actor reports of itself.

    Attributes:
        capacity: 0 until it is warm.
        lines: of progress, since the start.
        machine, process: where it runs.
        model: what ``describe_models`` says of what it has loaded; empty until then.
    """

    capacity: int
    lines: tuple[str, ...]
    machine: str
    process: int
    model: Mapping[str, Any] = field(default_factory=dict)


class Actor:
    """One actor, as this process sees it; once it is lost, it stays so.

    Attributes:
        number: from 0; its successor has the same.
        handles: the runs that it makes now.
        state: what it reported last.
    """

    def __init__(self, cluster: Cluster, worker: type, build: Any, number: int) -> None:
        """Its process is being started."""
        self.number = number
        self.handles: set[object] = set()
        self._ray = cluster.ray
        self._handle = cluster.actor(worker, build)
        self.state = ActorState(0, (), "", 0)
        self._settled, self._lost = threading.Event(), threading.Event()
        self._error: LongLiveError = LostError("")

    @property
    def is_lost(self) -> bool:
        """Whether it is gone."""
        return self._lost.is_set()

    @property
    def is_warm(self) -> bool:
        """Whether it can make runs."""
        return self._settled.is_set() and not self._lost.is_set()

    @property
    def capacity(self) -> int:
        """How many runs it can make; 0 before it is warm, and when it is lost."""
        return self.state.capacity if self.is_warm else 0

    def warm_up(self, progress: ProgressCallback) -> None:
        """Wait until it has loaded the model, passing its progress on.

        Raises:
            LongLiveError: its own error, if it failed.
        """
        warming, first, num_passed = self.send("warm_up", group="runs"), self.send("state"), 0
        if not self._is_there(first, ANSWER_TIMEOUT_S):
            progress("waiting for a place and a process in the cluster")
        is_done = False
        while not is_done:
            is_done = self._is_there(warming, CHECK_INTERVAL_S)
            self.state = self._get(self.send("state"), None)
            for line in self.state.lines[num_passed:]:
                progress(line)
            num_passed = len(self.state.lines)
        if message := self._get(warming, None):
            raise LongLiveError(message)
        self._settled.set()
        progress(f"capacity {self.capacity}, process {self.state.process} on {self.state.machine}")

    def wait(self) -> None:
        """Wait until it is warm; its error if it is lost before."""
        self._settled.wait()
        if self._lost.is_set():
            raise self._error

    def watch(self) -> None:
        """Ask for its state again and again; LostError once it is lost."""
        while not self._lost.wait(CHECK_INTERVAL_S):
            self.state = self.ask("state", timeout=ANSWER_TIMEOUT_S)
        raise self._error

    def lose(self, error: LongLiveError) -> None:
        """Mark it as lost and kill it."""
        if not self._lost.is_set():
            self._error = error
            self._lost.set()
            self._settled.set()
        self._ray.kill(self._handle)

    def send(self, method: str, *arguments: Any, group: str | None = None) -> Any:
        """Call a method and wait for nothing: a reference to its result; LostError if it is lost."""
        if self.is_lost:
            raise self._error
        return getattr(self._handle, method).options(concurrency_group=group).remote(*arguments)

    def ask(self, method: str, *arguments: Any, timeout: float) -> Any:
        """The result of a method that takes no time; LostError if it does not come."""
        return self._get(self.send(method, *arguments), timeout)

    def stream(self, run: Any) -> Iterator[ExecutorEvent]:
        """The events of a run, at most ``MAX_UNREAD_EVENTS`` ahead of the reader; LostError."""
        call = {"concurrency_group": "runs", "num_returns": "streaming"}
        limit = {"_generator_backpressure_num_objects": MAX_UNREAD_EVENTS}
        stream = None
        while not self.is_lost:
            stream = stream or self._handle.events.options(**call, **limit).remote(run)
            is_there = self._is_there(stream, CHECK_INTERVAL_S)
            reference = next(stream, None) if is_there else None
            if reference is not None:
                yield self._get(reference, ANSWER_TIMEOUT_S)
            elif is_there:
                return
        raise self._error

    def _is_there(self, reference: Any, timeout: float) -> bool:
        """Whether a result, or the next of a stream, comes in time; LostError as for ``_get``."""
        with self._answering(timeout):
            ready, _ = self._ray.wait([reference], timeout=timeout)
        return bool(ready)

    def _get(self, reference: Any, timeout: float | None) -> Any:
        """A result; LostError if it does not come, and for good if the actor is gone."""
        with self._answering(timeout):
            return self._ray.get(reference, timeout=timeout)

    @contextmanager
    def _answering(self, timeout: float | None) -> Iterator[None]:
        """Turn Ray's errors into LostError."""
        errors = self._ray.exceptions
        try:
            yield
        except errors.RayTaskError as error:
            raise LostError(f"The worker failed: {error.cause}.") from error
        except errors.GetTimeoutError as error:
            raise LostError(f"The worker has not answered for {timeout:.0f} s.") from error
        except (errors.RayError, OSError) as error:  # OSError: this machine's part of Ray is gone
            self.lose(LostError(f"The worker is gone ({type(error).__name__})."))
            raise self._error from error


def _imported(*, is_ours: bool) -> Any:
    """Ray, with the variables that it reads when it is imported, where nobody has set them."""
    usual = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # start only on ray.init
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # a lost process fills pages; we log one line
    }
    if is_ours:
        usual["RAY_AUTH_MODE"] = "token"  # Ray would do the same, with a warning
    if "ray" not in sys.modules:
        for name, value in usual.items():
            os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        cure = "pip install 'ray>=2.60,<3', or choose another --executor"
        raise LostError(f"Ray is not installed: {cure}.") from error
    return ray


def _check_reachable(address: str) -> None:
    """OSError if nothing listens there: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _num_gpus() -> int:
    """GPUs of this machine."""
    import torch

    return torch.cuda.device_count()
