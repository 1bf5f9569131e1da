"""Runs in Ray actors: placed by load, played in time, and moved when their worker is lost."""

import contextlib
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
from longlive.serving.events import RunFinished
from longlive.serving.executors import ray as ray_carrier
from longlive.serving.executors import ray_cluster
from longlive.serving.executors.events import Finished, SegmentEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Playhead, Prompt, Stop
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.packed import Packed
from longlive.serving.executors.ray import RayExecutor, RayHandle, Worker, thread_carrier
from longlive.serving.executors.ray_cluster import Cluster
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.run import Run
from tests.support.fakes import FakeModels, FakeSession, tiny_config

MEADOW, JUMP, SNOW = (
    "a red ball stands on a green meadow",
    "the red ball jumps on a green meadow",
    "the red ball stands on snow",
)
STALLS_S = 0.5
"""In all, over a few seconds, on a machine that is busy with other things."""

NUM_CPUS = 4


def fake_carrier(tell: ProgressCallback, **facts: Any) -> ThreadExecutor:
    """What an actor carries with: a model of test cards, which sleeps where another would compute."""
    tell("drawing cards")
    carrier = ThreadExecutor(ModelRunner(FakeModels(**facts), open_session=FakeSession))
    carrier.warm_up()
    return carrier


def no_memory(tell: ProgressCallback) -> ThreadExecutor:
    tell("loading a lot")
    raise FitError("The memory ran out with everything. Take a smaller model.")


def no_colours(tell: ProgressCallback) -> ThreadExecutor:
    raise ConfigError("colours", 0, "there must be one", "Buy some.")


def order(**limits: float) -> Job:
    return Job(name="ada", seed=7, prompts=(Prompt(MEADOW),), limits=Limits(**limits))


def digests(run: Run) -> list[str]:
    return json.loads((run.folder / "longlive.json").read_text())["chunks"]


class Placed(RayExecutor):
    """A RayCarrier of which is known where each run went, and which outlives its engines."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.places: dict[str, list[int]] = {}

    def start(self, order: Job) -> RayHandle:
        carriage = super().start(order)
        self.places.setdefault(order.name, []).append(carriage.worker)
        return carriage

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

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> float:
        """Send a signal to a worker's process; when that was."""
        os.kill(self.workers[number].process, how)
        return time.monotonic()


class Viewer(threading.Thread):
    """Somebody who watches a run from its first picture on, and notes when the pictures came too late."""

    def __init__(self, run: Run) -> None:
        super().__init__(daemon=True)
        self.run_, self.came, self.late = run, list[tuple[int, float]](), list[float]()
        self.prompts: set[str] = set()
        self.finished: RunFinished | None = None
        self.is_leaving = threading.Event()
        self.start()

    def run(self) -> None:
        begun = 0.0
        while self.finished is None and not self.is_leaving.is_set():
            report, now = self.run_.next_report(), time.monotonic()
            if isinstance(report, SegmentEvent):
                shown_at = report.segment.first_frame / report.segment.fps
                begun = begun or now
                self.late.append(now - begun - shown_at)
                begun += max(0.0, self.late[-1])
                self.came.append((report.segment.index, now))
                self.prompts.add(report.segment.prompt)
            elif isinstance(report, RunFinished):
                self.finished = report
            else:
                self.run_.playhead(now - begun if begun else 0.0, playing=bool(begun))
                time.sleep(0.02)

    def wait(self, until: Callable[["Viewer"], Any], timeout: float = 30.0) -> None:
        wait(lambda: until(self), timeout)

    @property
    def chunk(self) -> int:
        return self.came[-1][0] if self.came else -1

    @property
    def stalled_s(self) -> float:
        return sum(late for late in self.late if late > 0)

    @property
    def indices(self) -> list[int]:
        """The chunks whose pictures came, each once in a row."""
        return [index for index, _ in itertools.groupby(index for index, _ in self.came)]


def wait(until: Callable[[], Any], timeout: float = 30.0) -> None:
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
    build = partial(fake_carrier, chunk_s=0.2, streams=2)
    carrier = Placed("storybook", RuntimeOptions(), actors=2, build=build, tell=lines.append)
    carrier.config = tiny_config()
    with carrier.lent():
        assert {f"worker {number}: drawing cards" for number in (1, 2)} < set(lines)
        yield carrier


@pytest.fixture
def carrier(fakes: Placed) -> Iterator[Placed]:
    """The same, with both workers there and nothing to do."""
    wait(lambda: fakes.room() == 4)
    yield fakes
    wait(lambda: not any(actor.carried for actor in fakes._actors))


@contextlib.contextmanager
def watched(
    carrier: Any, num_viewers: int, script: tuple[Scene, ...] = (), **limits: float
) -> Iterator[list[Viewer]]:
    """An engine with so many viewers, each on a run."""
    engine = Engine(carrier, limits=Limits(**limits), resume="exact")
    try:
        yield [
            Viewer(engine.start(str(number), MEADOW, seed=7, script=script)) for number in range(num_viewers)
        ]
    finally:
        engine.close()


def test_a_worker_carries_runs_by_number_until_they_are_over() -> None:
    worker = Worker(partial(fake_carrier, chunk_s=0.01))
    assert worker.state().room == 0
    assert worker.warm_up() == ""
    state = worker.state()
    assert (state.room, state.lines, state.process) == (4, ("drawing cards",), os.getpid())
    first, second = worker.start(order(video_s=1.0, ahead_s=99)), worker.start(order(ahead_s=99))
    assert worker.begun(first) == -1
    assert worker.post(first, Prompt(JUMP)) == Prompt(JUMP, chunk=0)
    reports = list(worker.reports(first))
    assert [report.segment.index for report in reports[:-1]] == [0, 0, 1] and isinstance(
        reports[-1], Finished
    )
    assert worker.post(first, Prompt(SNOW)) == Prompt(SNOW), "nobody reads it any more"
    worker.post(second, Stop("Enough."))
    assert list(worker.reports(second))[-1] == Finished("Enough.")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_comes_out_as_it_was_packed(dtype: torch.dtype) -> None:
    tensor = torch.randn(1, 3, 2, 4, 6).to(dtype).transpose(3, 4)
    again = Packed.of(tensor).tensor()
    assert again.dtype is dtype and torch.equal(again, tensor)


def test_a_worker_tells_in_words_why_it_cannot_begin() -> None:
    assert "The memory ran out" in Worker(no_memory).warm_up()


def test_no_worker_is_started_for_a_model_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_carrier, "Cluster", None)
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
    carrier = RayExecutor("storybook", RuntimeOptions(), actors=1, build=no_colours)
    try:
        with pytest.raises(LongLiveError, match=r"^colours is 0, but there must be one. Buy some.$"):
            carrier.warm_up()
        assert carrier.room() == 0
        with pytest.raises(LostError, match="No worker is there just now"):
            carrier.start(order())
    finally:
        carrier.close()


@pytest.mark.slow
def test_runs_go_where_most_room_is_left_and_two_workers_carry_twice_the_viewers_of_one(carrier) -> None:
    assert [worker.room for worker in carrier.workers] == [2, 2] and carrier.room() == 4
    with watched(carrier, 4) as viewers:
        for viewer in viewers:
            viewer.wait(lambda viewer: viewer.chunk >= 7)
        assert sorted(carrier.places[viewer.run_.name] for viewer in viewers) == [[0], [0], [1], [1]]
        assert max(viewer.stalled_s for viewer in viewers) <= STALLS_S


def test_one_worker_cannot_carry_as_many() -> None:
    """Or the test above would show nothing."""
    alone = fake_carrier(lambda _: None, chunk_s=0.2)
    assert alone.room() == 2
    alone.room = lambda: 4
    with watched(alone, 4) as viewers:
        wait(lambda: max(viewer.stalled_s for viewer in viewers) > STALLS_S)


@pytest.mark.slow
def test_a_prompt_is_seen_in_the_chunk_that_was_promised(carrier) -> None:
    carriage = carrier.start(order(video_s=5))
    assert carriage.begun == -1
    promised: list[Prompt] = []
    shots = []
    for report in carriage.reports():
        if isinstance(report, SegmentEvent):
            shots.append(report)
            carriage.post(Playhead(report.segment.first_frame / 16, True))
        if len(shots) in (3, 4):
            soonest = (
                promised[-1].chunk + 1 if promised else 0
            )  # as Run asks: each of its prompts gets a chunk
            promised.append(carriage.post(Prompt((JUMP, SNOW)[len(shots) - 3], chunk=soonest)))
            assert promised[-1].chunk > report.segment.index
    prompts = {shot.segment.index: shot.segment.prompt for shot in shots}
    seen = {text: next(chunk for chunk in prompts if prompts[chunk] == text) for text in (JUMP, SNOW)}
    assert seen == {prompt.text: prompt.chunk for prompt in promised}
    assert isinstance(report, Finished) and carriage.post(Prompt(MEADOW)).text == MEADOW


@pytest.mark.slow
def test_reports_go_no_further_than_they_are_read_and_a_run_nobody_reads_any_more_ends(carrier) -> None:
    carriage = carrier.start(order(ahead_s=999))
    reports = carriage.reports()
    next(reports)
    wait(lambda: carriage.begun >= ray_cluster.WAITING_REPORTS - 3)
    time.sleep(1.0)
    assert carriage.begun <= ray_cluster.WAITING_REPORTS
    reports.close()
    wait(lambda: carriage.begun < 0 or carriage.post(Prompt(JUMP)).chunk == 0)


@pytest.mark.slow
def test_when_a_worker_is_killed_its_viewers_go_on_elsewhere_and_the_others_never_notice(carrier) -> None:
    with watched(carrier, 2) as (ada, bob):
        for viewer in (ada, bob):
            viewer.wait(lambda viewer: viewer.chunk >= 2)
        (place,), (other,) = carrier.places[ada.run_.name], carrier.places[bob.run_.name]
        assert place != other
        killed, seen = carrier.kill(place), ada.chunk
        ada.wait(lambda viewer: viewer.chunk > seen)
        assert ada.came[-1][1] - killed < 5.0
        assert ada.run_.prompt(JUMP).chunk >= seen
        wait(lambda: carrier.room() == 4)
        assert (carrier.places[ada.run_.name], carrier.places[bob.run_.name]) == ([place, other], [other])
        for viewer in (ada, bob):
            chunks = viewer.indices
            assert chunks == list(range(len(chunks))), "no picture is missing, and none comes twice"
        carriage = carrier.start(order(video_s=1.0))
        assert carriage.worker == place, "another worker is there in the place of the one that was killed"
        assert list(carriage.reports())[-1] == Finished("The story is complete: 1.3 s.")


@pytest.mark.slow
def test_a_worker_that_is_silent_is_given_up(carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose network is gone: Ray itself takes a minute to see it."""
    monkeypatch.setattr(ray_cluster, "SILENT_S", 1.0)
    monkeypatch.setattr(ray_cluster, "CHECK_S", 0.2)
    with watched(carrier, 1) as (ada,):
        ada.wait(lambda viewer: viewer.chunk >= 1)
        (place,) = carrier.places[ada.run_.name]
        stopped, seen = carrier.kill(place, signal.SIGSTOP), ada.chunk
        assert ada.run_.prompt(JUMP).chunk > seen, "a prompt that comes meanwhile is kept"
        ada.wait(lambda viewer: viewer.chunk > seen + 2)
        assert time.monotonic() - stopped < 12
        assert JUMP in ada.prompts


@pytest.mark.slow
def test_a_story_whose_worker_was_killed_has_the_latents_of_one_that_was_not(cluster: Cluster) -> None:
    script = (Scene(1.5, JUMP), Scene(3.0, SNOW, "hard"))
    told = {"video_s": 5.0, "ahead_s": 99.0}
    with watched(thread_carrier("storybook", RuntimeOptions(), lambda _: None), 1, script, **told) as (
        plain,
    ):
        plain.wait(lambda viewer: viewer.finished, 60)
        expected = digests(plain.run_)
    with (
        Placed("storybook", RuntimeOptions(), actors=2).lent() as carrier,
        watched(carrier, 1, script, **told) as (ada,),
    ):
        ada.wait(lambda viewer: viewer.chunk >= 2)
        killed, seen = carrier.kill(carrier.places[ada.run_.name][0]), ada.chunk
        ada.wait(lambda viewer: viewer.chunk > seen)
        assert ada.came[-1][1] - killed < 5.0
        ada.wait(lambda viewer: viewer.finished, 60)
        assert not ada.finished.failed and len(expected) >= 7
        assert digests(ada.run_) == expected
