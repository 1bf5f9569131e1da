"""Runs in Ray actors: placed by load, played in time, and moved when their worker is lost."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import pytest
import torch

from longlive.errors import CheckpointError, ConfigError, FitError, LongLiveError, LostError
from longlive.generation.storyboard import Scene
from longlive.runtime.startup import ProgressCallback, RuntimeOptions
from longlive.serving.engine import Engine
from longlive.serving.executors import ray as ray_executor
from longlive.serving.executors import ray_cluster
from longlive.serving.executors.events import Finished, SegmentEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Playhead, Prompt, Reschedule, Stop
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.packed import Packed
from longlive.serving.executors.ray import RayExecutor, RayHandle, Worker, warm_thread_executor
from longlive.serving.executors.ray_cluster import ActorState, Cluster
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.runs.events import RunFinished
from longlive.serving.runs.run import Run
from tests.support.fakes import FakeModels, FakeSession, tiny_config
from tests.support.run_reader import next_event

MEADOW, JUMP, SNOW = (
    "a red ball stands on a green meadow",
    "the red ball jumps on a green meadow",
    "the red ball stands on snow",
)
NUM_CPUS = 4


def fake_executor(tell: ProgressCallback, **facts: Any) -> ThreadExecutor:
    """The executor of an actor: a model of test cards, which sleeps where another would compute."""
    tell("drawing cards")
    executor = ThreadExecutor(ModelRunner(FakeModels(**facts), open_session=FakeSession))
    executor.warm_up()
    return executor


def no_memory(tell: ProgressCallback) -> ThreadExecutor:
    tell("loading a lot")
    raise FitError("The memory ran out with everything. Take a smaller model.")


def no_colours(tell: ProgressCallback) -> ThreadExecutor:
    raise ConfigError("colours", 0, "there must be one", "Buy some.")


def job(**limits: float) -> Job:
    return Job(name="ada", seed=7, prompts=(Prompt(MEADOW),), limits=Limits(**limits))


def digests(run: Run) -> list[str]:
    [path] = run.store.folder.glob("longlive-*.json")
    return json.loads(path.read_text())["chunks"]


class Placed(RayExecutor):
    """A RayExecutor that records where each run went, and outlives its engines."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.places: dict[str, list[int]] = {}

    def start(self, job: Job) -> RayHandle:
        handle = super().start(job)
        self.places.setdefault(job.name, []).append(handle.worker)
        return handle

    @property
    def workers(self) -> list[ActorState]:
        """What the actors reported last."""
        return [actor.state for actor in self._actors]

    def close(self) -> None:
        """An engine does not need it any more."""

    @contextlib.contextmanager
    def lent(self) -> Iterator["Placed"]:
        """Warm, and closed in the end."""
        try:
            self.warm_up()
            yield self
        finally:
            super().close()

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a worker's process."""
        os.kill(self.workers[number].process, how)


class Viewer(threading.Thread):
    """Somebody who watches a run from its first picture on, as fast as its pictures come."""

    def __init__(self, run: Run) -> None:
        super().__init__(daemon=True)
        self.run_, self.came = run, list[int]()
        self.prompts: set[str] = set()
        self.finished: RunFinished | None = None
        self.is_leaving = threading.Event()
        self.start()

    def run(self) -> None:
        begun = 0.0
        while self.finished is None and not self.is_leaving.is_set():
            report, now = next_event(self.run_), time.monotonic()
            if isinstance(report, SegmentEvent):
                shown_at = report.segment.first_frame / report.segment.fps
                begun = begun or now
                begun = max(begun, now - shown_at)
                self.came.append(report.segment.index)
                self.prompts.add(report.segment.prompt)
            elif isinstance(report, RunFinished):
                self.finished = report
            else:
                self.run_.playhead(now - begun if begun else 0.0, playing=bool(begun))
                time.sleep(0.02)

    def wait(self, until: Callable[["Viewer"], Any], timeout: float = 120.0) -> None:
        wait(lambda: until(self), timeout)

    @property
    def chunk(self) -> int:
        return self.came[-1] if self.came else -1

    @property
    def indices(self) -> list[int]:
        """The chunks whose pictures came, each once in a row."""
        return [index for index, _ in itertools.groupby(self.came)]


def wait(until: Callable[[], Any], timeout: float = 120.0) -> None:
    deadline = time.monotonic() + timeout
    while not until():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Ray, started once; nothing of it is left in the end."""
    handler = signal.getsignal(signal.SIGTERM)
    cluster = Cluster(RuntimeOptions(), NUM_CPUS, None)
    assert signal.getsignal(signal.SIGTERM) is handler, (
        "Ray has put its own handler in place of the program's"
    )
    children = psutil.Process().children(recursive=True)
    folder = cluster.folder
    assert folder is not None and folder.exists() and any("raylet" in child.name() for child in children)
    yield cluster
    children = psutil.Process().children(recursive=True)
    cluster.close()
    psutil.wait_procs(children, timeout=10)
    left = [child.name() for child in children if child.is_running()]
    assert not [name for name in left if "ray" in name or "gcs" in name]
    assert not folder.exists()


@pytest.fixture(scope="module")
def fakes(cluster: Cluster) -> Iterator[Placed]:
    """Two workers of test cards, each with memory for two viewers; its speed would not do for a third."""
    lines: list[str] = []
    build = partial(fake_executor, chunk_s=0.2, streams=2)
    executor = Placed("storybook", RuntimeOptions(), actors=2, build=build, progress=lines.append)
    executor.config = tiny_config()
    with executor.lent():
        assert {f"worker {number}: drawing cards" for number in (1, 2)} < set(lines)
        yield executor


@pytest.fixture
def executor(fakes: Placed) -> Iterator[Placed]:
    """The same, with both workers there and nothing to do."""
    wait(lambda: fakes.capacity() == 4)
    yield fakes
    wait(lambda: not any(actor.handles for actor in fakes._actors))


@contextlib.contextmanager
def watched(
    executor: Any, num_viewers: int, script: tuple[Scene, ...] = (), **limits: float
) -> Iterator[list[Viewer]]:
    """An engine with so many viewers, each on a run."""
    engine = Engine(executor, limits=Limits(**limits), resume="exact")
    try:
        yield [
            Viewer(engine.start(str(number), MEADOW, seed=7, script=script)) for number in range(num_viewers)
        ]
    finally:
        engine.close()


def test_a_worker_carries_runs_by_number_until_they_are_over() -> None:
    worker = Worker(partial(fake_executor, chunk_s=0.01))
    assert worker.state().capacity == 0
    assert worker.warm_up() == ""
    state = worker.state()
    assert (state.capacity, state.lines, state.process) == (4, ("drawing cards",), os.getpid())
    first, second = (
        worker.start(job(max_video_s=1.0, buffer_ahead_s=99)),
        worker.start(job(buffer_ahead_s=99)),
    )
    assert worker.started_chunk(first) == -1
    assert worker.post(first, Prompt(JUMP)) == Prompt(JUMP, chunk=0)
    reports = list(worker.events(first))
    assert [report.segment.index for report in reports[:-1]] == [0, 0, 1] and isinstance(
        reports[-1], Finished
    )
    assert worker.post(first, Prompt(SNOW)) == Prompt(SNOW), "nobody reads it any more"
    change = worker.post(second, Reschedule(added=(Prompt(SNOW, chunk=0),)))
    assert change == Reschedule(added=(Prompt(SNOW, chunk=1),)), "the first chunk is the first prompt's"
    worker.post(second, Stop("user"))
    assert list(worker.events(second))[-1] == Finished("user")


class LostActor:
    """An actor that answers nothing any more."""

    number = 0

    def __init__(self) -> None:
        self.handles: set[RayHandle] = set()

    def ask(self, *_: Any, **__: Any) -> Any:
        raise LostError("gone")

    send = ask


def test_what_a_lost_worker_is_told_of_prompts_is_for_the_next_one() -> None:
    handle = RayHandle(LostActor())  # type: ignore[arg-type]
    handle._started_chunk = 4
    change = Reschedule(removed=(9,), added=(Prompt(SNOW, chunk=3), Prompt(JUMP, chunk=12)), is_strict=True)
    posted = handle.post(change)
    assert isinstance(posted, Reschedule) and [one.chunk for one in posted.added] == [5, 12]
    late = handle.post(dataclasses.replace(change, removed=(4,)))
    assert isinstance(late, Reschedule) and late.is_late


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_comes_out_as_it_was_packed(dtype: torch.dtype) -> None:
    tensor = torch.randn(1, 3, 2, 4, 6).to(dtype).transpose(3, 4)
    again = Packed.of(tensor).tensor()
    assert again.dtype is dtype and torch.equal(again, tensor)


def test_a_worker_tells_in_words_why_it_cannot_begin() -> None:
    assert "The memory ran out" in Worker(no_memory).warm_up()


def test_no_worker_is_started_for_a_model_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "Cluster", None)
    with pytest.raises(CheckpointError, match=r"There is no model 'storybok'. Did you mean 'storybook'"):
        RayExecutor("storybok", RuntimeOptions())


def test_a_certain_gpu_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"device is 'cuda:1', but .* Ray deals out the GPUs: write cuda"):
        Cluster(RuntimeOptions(device="cuda:1"), 1, None)


def test_at_least_one_worker_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="actors is 0, but at least one is needed"):
        Cluster(RuntimeOptions(), 0, None)


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LostError, match=r"Ray is not installed: pip install 'ray>=2.60,<3'"):
        Cluster(RuntimeOptions(), 1, None)


def test_an_address_where_nobody_opens_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        LostError, match=rf"Ray cannot be reached at 127.0.0.1:{port}: .* RAY_AUTH_MODE=token"
    ):
        Cluster(RuntimeOptions(), 1, f"127.0.0.1:{port}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "what"), [("cpu", "CPU: 5, but it has 4"), ("cuda", "GPU: 5, but it has 0")]
)
def test_more_workers_than_the_cluster_has_places_for_are_refused(cluster: Cluster, device, what) -> None:
    """Ray itself would wait for ever."""
    with pytest.raises(LostError, match=f"For --actors 5 the cluster needs {what}"):
        Cluster(RuntimeOptions(device=device), 5, None)
    assert cluster.ray.is_initialized(), "who found Ray running leaves it so"


@pytest.mark.slow
def test_what_keeps_a_worker_from_beginning_is_told_in_its_words(cluster: Cluster) -> None:
    executor = RayExecutor("storybook", RuntimeOptions(), actors=1, build=no_colours)
    try:
        with pytest.raises(LongLiveError, match=r"^colours is 0, but there must be one. Buy some.$"):
            executor.warm_up()
        assert executor.capacity() == 0
        with pytest.raises(LostError, match="No worker is alive just now"):
            executor.start(job())
    finally:
        executor.close()


@pytest.mark.slow
def test_runs_go_where_most_room_is_left_and_all_of_them_play(executor) -> None:
    assert [worker.capacity for worker in executor.workers] == [2, 2] and executor.capacity() == 4
    with watched(executor, 4) as viewers:
        for viewer in viewers:
            viewer.wait(lambda viewer: viewer.chunk >= 7)
        assert sorted(executor.places[viewer.run_.name] for viewer in viewers) == [[0], [0], [1], [1]]


@pytest.mark.slow
def test_a_prompt_is_seen_in_the_chunk_that_was_promised(executor) -> None:
    handle = executor.start(job(max_video_s=5))
    assert handle.started_chunk == -1
    promised: list[Prompt] = []
    shots = []
    for report in handle.events():
        if isinstance(report, SegmentEvent):
            shots.append(report)
            handle.post(Playhead(report.segment.first_frame / 16, True))
        if len(shots) in (3, 4):
            soonest = (
                promised[-1].chunk + 1 if promised else 0
            )  # as Run asks: each of its prompts gets a chunk
            promised.append(handle.post(Prompt((JUMP, SNOW)[len(shots) - 3], chunk=soonest)))
            assert promised[-1].chunk > report.segment.index
    prompts = {shot.segment.index: shot.segment.prompt for shot in shots}
    seen = {text: next(chunk for chunk in prompts if prompts[chunk] == text) for text in (JUMP, SNOW)}
    assert seen == {prompt.text: prompt.chunk for prompt in promised}
    assert isinstance(report, Finished) and handle.post(Prompt(MEADOW)).text == MEADOW


@pytest.mark.slow
def test_reports_go_no_further_than_they_are_read_and_a_run_nobody_reads_any_more_ends(executor) -> None:
    handle = executor.start(job(buffer_ahead_s=999))
    reports = handle.events()
    next(reports)
    wait(lambda: handle.started_chunk >= ray_cluster.MAX_UNREAD_EVENTS - 3)
    time.sleep(1.0)
    assert handle.started_chunk <= ray_cluster.MAX_UNREAD_EVENTS
    reports.close()
    wait(lambda: handle.started_chunk < 0 or handle.post(Prompt(JUMP)).chunk == 0)


@pytest.mark.slow
def test_when_a_worker_is_killed_its_viewers_go_on_elsewhere_and_the_others_never_notice(executor) -> None:
    with watched(executor, 2) as (ada, bob):
        for viewer in (ada, bob):
            viewer.wait(lambda viewer: viewer.chunk >= 2)
        (place,), (other,) = executor.places[ada.run_.name], executor.places[bob.run_.name]
        assert place != other
        executor.kill(place)
        seen = ada.chunk
        ada.wait(lambda viewer: viewer.chunk > seen)
        assert ada.run_.prompt(JUMP).chunk >= seen
        wait(lambda: executor.capacity() == 4)
        assert (executor.places[ada.run_.name], executor.places[bob.run_.name]) == ([place, other], [other])
        for viewer in (ada, bob):
            chunks = viewer.indices
            assert chunks == list(range(len(chunks))), "no picture is missing, and none comes twice"
        handle = executor.start(job(max_video_s=1.0))
        assert handle.worker == place, "another worker is there in the place of the one that was killed"
        assert list(handle.events())[-1] == Finished("complete")


@pytest.mark.slow
def test_a_worker_that_is_silent_is_given_up(executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose network is gone: Ray itself takes a minute to see it."""
    monkeypatch.setattr(ray_cluster, "ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr(ray_cluster, "CHECK_INTERVAL_S", 0.2)
    with watched(executor, 1) as (ada,):
        ada.wait(lambda viewer: viewer.chunk >= 1)
        (place,) = executor.places[ada.run_.name]
        executor.kill(place, signal.SIGSTOP)
        seen = ada.chunk
        assert ada.run_.prompt(JUMP).chunk > seen, "a prompt that comes meanwhile is kept"
        ada.wait(lambda viewer: viewer.chunk > seen + 2)
        assert JUMP in ada.prompts


@pytest.mark.slow
def test_a_story_whose_worker_was_killed_has_the_latents_of_one_that_was_not(cluster: Cluster) -> None:
    script = (Scene(1.5, JUMP), Scene(3.0, SNOW, "hard"))
    told = {"max_video_s": 5.0, "buffer_ahead_s": 99.0}
    with watched(warm_thread_executor("storybook", RuntimeOptions(), lambda _: None), 1, script, **told) as (
        plain,
    ):
        plain.wait(lambda viewer: viewer.finished, 60)
        expected = digests(plain.run_)
    with (
        Placed("storybook", RuntimeOptions(), actors=2).lent() as executor,
        watched(executor, 1, script, **told) as (ada,),
    ):
        ada.wait(lambda viewer: viewer.chunk >= 2)
        executor.kill(executor.places[ada.run_.name][0])
        seen = ada.chunk
        ada.wait(lambda viewer: viewer.chunk > seen)
        ada.wait(lambda viewer: viewer.finished, 60)
        assert not ada.finished.failure is not None and len(expected) >= 7
        assert digests(ada.run_) == expected
