"""Leases, refusals and pauses, with ``spaces`` as it is off ZeroGPU: what it decorates stays as it is."""

import dataclasses
import errno
import gc
import math
import os
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from longlive.errors import ConfigError, LostError, MailboxError
from longlive.runtime.startup import RuntimeOptions
from longlive.serving.executors import zerogpu
from longlive.serving.executors.events import ExecutorEvent, Failure, Finished, Preempted, SegmentEvent
from longlive.serving.executors.file_mailbox import FileMailbox
from longlive.serving.executors.job import Job, ResumeState
from longlive.serving.executors.mailbox import MemoryMailbox
from longlive.serving.executors.messages import Playhead, Prompt, Reschedule, Stop
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.stream_worker import StreamWorker
from longlive.serving.executors.zerogpu import (
    Lease,
    ZeroGpuExecutor,
    ZeroGpuHandle,
    affordable,
    open_executor,
)
from longlive.serving.limits import Limits
from tests.support.fake_zero_gpu import until
from tests.support.fakes import FakeModels, FakeSession
from tests.support.tiny_transformer import tiny_transformer

NEW = Job(
    name="ada", seed=0, prompts=(Prompt("a ball"),), limits=Limits(buffer_ahead_s=math.inf, max_video_s=3.0)
)
QUOTA = "You have exceeded your free ZeroGPU quota ({}s requested vs. {}s left). Try again in 3:12:00. "


@pytest.fixture
def executor() -> Iterator[ZeroGpuExecutor]:
    executor = ZeroGpuExecutor(
        FakeModels(), make_runner=lambda models: ModelRunner(models, open_session=FakeSession)
    )
    yield executor
    executor.close()


def shots(reports: list[ExecutorEvent]) -> list[SegmentEvent]:
    return [report for report in reports if isinstance(report, SegmentEvent) and report.checkpoint]


def after(executor: ZeroGpuExecutor, playing: bool = True, **limits: float) -> Job:
    """The job that goes on with what ``NEW`` made, for a viewer at 0.1 s."""
    made = [shot.checkpoint for shot in shots(list(executor.start(NEW).events()))]
    record = made[0].record
    past = ResumeState(
        type(record)(
            **vars(record) | {"prompts": (made[0].event,), "chunks": tuple(one.digest for one in made)}
        ),
        tuple(one.latents for one in made),
        num_frames=36,
        exact=True,
    )
    playhead = Playhead(0.1, playing)
    return Job(name="ada", seed=0, prompts=(), limits=Limits(**limits), resume=past, playhead=playhead)


def gone_on(handle: ZeroGpuHandle) -> tuple[list[ExecutorEvent], threading.Thread]:
    """What a handle reports, read in a thread."""
    found: list[ExecutorEvent] = []
    thread = threading.Thread(target=lambda: found.extend(handle.events()), daemon=True)
    thread.start()
    return found, thread


def test_a_run_is_made_and_takes_messages(executor: ZeroGpuExecutor) -> None:
    handle = executor.start(NEW)
    assert handle.started_chunk == -1
    assert handle.post(Prompt("a cube", chunk=2)) == Prompt("a cube", chunk=2)
    reports = list(handle.events())
    last = reports[-1]
    assert last == Finished("complete")
    assert [shot.checkpoint.event.text for shot in shots(reports) if shot.checkpoint.event] == [
        "a ball",
        "a cube",
    ]
    assert handle.started_chunk == len(shots(reports)) - 1
    assert handle.post(Prompt("late")).chunk == len(shots(reports)), "nobody reads it, and nothing breaks"


def test_prompts_to_come_are_changed_through_the_mailbox(executor: ZeroGpuExecutor) -> None:
    script = (
        Prompt("a ball"),
        Prompt("a cube", chunk=2, scripted=True),
        Prompt("snow", chunk=3, scripted=True),
    )
    handle = executor.start(dataclasses.replace(NEW, prompts=script))
    moved = Reschedule(removed=(2,), added=(Prompt("a cube", chunk=1),), occupied=(3,), is_strict=True)
    assert handle.post(moved) == moved
    handle.post(Reschedule(removed=(3,)))
    reports = list(handle.events())
    events = [shot.checkpoint.event for shot in shots(reports) if shot.checkpoint.event]
    assert [(event.chunk, event.text) for event in events] == [(0, "a ball"), (1, "a cube")]
    late = handle.post(dataclasses.replace(moved, removed=(1,)))
    assert isinstance(late, Reschedule) and late.is_late


def test_a_lease_runs_from_when_it_is_sent_to_the_worker() -> None:
    lease = Lease(40.0)
    assert lease.left_s() == 40.0
    time.sleep(0.05)
    arrived = pickle.loads(pickle.dumps(lease))
    assert 39.9 < arrived.left_s() <= 40.0
    assert pickle.loads(pickle.dumps(Lease(40.0, since=1.0))).since > 1.0


def test_a_worker_stops_at_a_chunk_before_its_lease_is_over(
    executor: ZeroGpuExecutor, tmp_path: Path
) -> None:
    begun = time.monotonic()
    endless = Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(buffer_ahead_s=math.inf))
    reports = list(executor.work(endless, tmp_path, Lease(2.5)))
    assert reports[-1] == Preempted("lease_over")
    assert 0.5 < time.monotonic() - begun < 2.5
    assert len(shots(reports)) > 3


def test_in_the_last_seconds_of_a_lease_more_is_made_ahead_and_then_no_more() -> None:
    """The viewer has that to see while the story is on its way into the next lease."""
    left_s = [60.0]
    order = Job(
        name="ada",
        seed=0,
        prompts=NEW.prompts,
        limits=Limits(buffer_ahead_s=1.5),
        playhead=Playhead(0.0, False),
    )
    runner = ModelRunner(FakeModels(), open_session=FakeSession)
    producer = StreamWorker(order, MemoryMailbox(), runner, lease_left_s=lambda: left_s[0])
    found: list[ExecutorEvent] = []
    thread = threading.Thread(target=lambda: found.extend(producer.events()), daemon=True)
    thread.start()
    until(lambda: len(shots(found)) == 2)
    thread.join(0.3)
    assert len(shots(found)) == 2
    left_s[0] = 3.0
    until(lambda: len(shots(found)) >= 5)
    thread.join(0.3)
    seconds = sum(shot.segment.seconds for shot in found if isinstance(shot, SegmentEvent))
    assert 1.5 + 2.5 - 0.75 <= seconds <= 1.5 + 2.5 + 0.75
    left_s[0] = 0.0
    thread.join(10)
    assert found[-1] == Preempted("lease_over")


def test_the_way_back_into_a_story_does_not_count_as_the_time_of_a_chunk(tmp_path: Path) -> None:
    """Else a lease whose first chunk waited for a long replay would end with it."""
    models = FakeModels(open_s=1.0)
    executor = ZeroGpuExecutor(models, make_runner=lambda _: ModelRunner(models, open_session=FakeSession))
    endless = Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(buffer_ahead_s=math.inf))
    assert len(shots(list(executor.work(endless, tmp_path, Lease(3.5))))) > 3
    executor.close()


@pytest.mark.parametrize(
    ("requested", "left", "seconds"),
    [(40, 39, 37.0), (40, 15, 13.0), (40, 14, None), (40, 0, None), (60, 41, 26.0), (80, 79, 38.5)],
)
def test_a_lease_is_cut_to_what_the_quota_leaves(requested: int, left: int, seconds: float | None) -> None:
    assert affordable(QUOTA.format(requested, left), 40.0) == seconds


def test_a_refusal_that_names_no_seconds_leaves_no_lease() -> None:
    assert affordable("No GPU was available after 60s", 40.0) is None


@contextmanager
def refused(executor: ZeroGpuExecutor, *errors: Exception) -> Iterator[list[float]]:
    """Let ``spaces`` refuse so often; the leases that were asked for."""
    left, work, asked = list(errors), executor.work, []

    def refuse(job: Job, folder: Path, lease: Lease) -> Iterator[ExecutorEvent]:
        asked.append(lease.seconds)
        if left:
            raise left.pop(0)
        yield from work(job, folder, lease)

    executor.work = refuse
    yield asked
    executor.work = work


def test_what_is_left_of_the_quota_is_asked_for_once(executor: ZeroGpuExecutor) -> None:
    errors = [gr.Error(QUOTA.format(40, left), title="ZeroGPU quota exceeded") for left in (30, 20)]
    with refused(executor, errors[0]) as asked:
        assert isinstance(list(executor.start(NEW).events())[-1], Finished)
        assert asked == [40.0, 28.0]
    with refused(executor, *errors):
        (last,) = executor.start(NEW).events()
        assert last == Finished("quota", Failure("quota", QUOTA.format(40, 20).strip()))


def test_a_run_that_was_started_ends_with_the_refusal_and_is_kept(
    executor: ZeroGpuExecutor,
) -> None:
    order = after(executor)
    with refused(executor, gr.Error(QUOTA.format(40, 3), title="ZeroGPU quota exceeded")):
        (last,) = executor.start(order).events()
    assert last == Finished("quota", Failure("quota", QUOTA.format(40, 3).strip()))
    assert last.keeps_video


def test_busy_gpus_are_asked_again_later(executor: ZeroGpuExecutor) -> None:
    with refused(executor, gr.Error("No GPU was available after 60s", title="ZeroGPU queue timeout")):
        assert list(executor.start(NEW).events()) == [Preempted("gpu_busy", "No GPU was available after 60s")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (gr.Error("GPU task aborted", title="ZeroGPU worker error"), "GPU task aborted"),
        (gr.Error("KeyError", title="ZeroGPU worker error"), "KeyError"),
        (RuntimeError("Unexpected end of stream"), "RuntimeError: Unexpected end of stream"),
        (ConnectionError("refused"), "ConnectionError"),
    ],
)
def test_a_worker_that_is_gone_is_lost(executor: ZeroGpuExecutor, error: Exception, words: str) -> None:
    with refused(executor, error), pytest.raises(LostError, match=words):
        list(executor.start(NEW).events())


def test_a_reader_who_goes_away_stops_the_worker(executor: ZeroGpuExecutor) -> None:
    handle = executor.start(NEW)
    reports = handle.events()
    next(reports)
    reports.close()
    assert Stop("closed") in FileMailbox(handle._folder).poll()


def test_a_pause_gives_the_gpu_back_and_play_asks_for_one_again(
    executor: ZeroGpuExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zerogpu, "PAUSE_S", 0.3)
    further = after(executor, playing=False, buffer_ahead_s=1.5)
    handle = executor.start(Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(buffer_ahead_s=1.5)))
    found, thread = gone_on(handle)
    until(lambda: shots(found))
    while thread.is_alive():
        handle.post(Playhead(0.1, playing=False))
        thread.join(0.05)
    assert found[-1] == Preempted("paused")

    handle = executor.start(further)
    found, thread = gone_on(handle)
    thread.join(0.5)
    assert not found, "no GPU is asked for while the viewer stands still"
    handle.post(Playhead(2.2, playing=True))
    until(lambda: shots(found))
    handle.post(Stop("user"))
    thread.join(10)
    assert found[-1] == Finished("user")


def test_a_story_that_is_stopped_while_its_viewer_pauses_asks_for_no_gpu(executor: ZeroGpuExecutor) -> None:
    order = after(executor, playing=False)
    with refused(executor) as asked:
        found, thread = gone_on(handle := executor.start(order))
        handle.post(Stop("closed"))
        thread.join(10)
    assert (found, asked) == ([Finished("closed")], [])


def test_a_player_that_waits_for_pictures_does_not_pause(
    executor: ZeroGpuExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zerogpu, "PAUSE_S", 0.0)
    handle = executor.start(NEW)
    handle.post(Playhead(0.0, playing=False))
    assert isinstance(list(handle.events())[-1], Finished)


def test_on_a_full_disk_a_prompt_is_refused_in_words_and_a_stop_is_obeyed(
    executor: ZeroGpuExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(buffer_ahead_s=math.inf))
    handle = executor.start(endless)
    found, thread = gone_on(handle)
    until(lambda: shots(found))

    def write(path: Path, text: str, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write)
    with pytest.raises(MailboxError, match="No space left on device"):
        handle.post(Prompt("a cube"))
    with pytest.raises(MailboxError, match="No space left on device"):
        handle.post(Reschedule(removed=(99,)))
    assert handle.post(Playhead(0.5)) == Playhead(0.5)
    handle.post(Stop("closed"))
    thread.join(10)
    assert found[-1] == Finished("closed")


def test_a_handle_leaves_no_files_and_a_worker_removes_none(executor: ZeroGpuExecutor) -> None:
    handle = executor.start(NEW)
    folder = handle._folder
    zerogpu._remove(folder, os.getpid() + 1)
    assert folder.exists(), "it belongs to the process that this one was forked from"
    del handle
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("facts", [{"lease_s": 5.0}, {"lease_s": 500.0}, {"size": "huge"}], ids=str)
def test_an_impossible_lease_or_size_is_refused_in_words(facts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ZeroGpuExecutor(FakeModels(), **facts)


def test_no_worker_compiles_while_it_runs() -> None:
    with pytest.raises(ConfigError, match="no time to compile"):
        open_executor("storybook", RuntimeOptions(compile="default"), print)


class Uncompiled:
    """Models whose two transformers are one; nothing of them can be computed."""

    def __init__(self) -> None:
        self.transformer = tiny_transformer()
        self.transformers = self.transformer, self.transformer

    def has_compiled_blocks(self) -> bool:
        return all("project_qkv" in vars(block) for block in self.transformer.blocks)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages are kept; making one takes no time and gives an empty one."""
    monkeypatch.setattr("longlive.runtime.aot.package.cache_folder", lambda: tmp_path)
    monkeypatch.setattr(zerogpu, "compile_package", lambda _, folder: folder.mkdir(parents=True))
    return tmp_path / "aot"


def test_blocks_are_compiled_once_in_a_lease_of_their_own_and_applied_here(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases: list[dict[str, Any]] = []
    monkeypatch.setattr(zerogpu.spaces, "GPU", lambda task, **facts: leases.append(facts) or task)
    for _ in range(2):
        models, lines = Uncompiled(), list[str]()
        zerogpu.compile_blocks(models, lines.append, size="xlarge")  # type: ignore[arg-type]
        assert models.has_compiled_blocks()
        (folder,) = packages.iterdir()
        assert lines[-1] == f"blocks run by {folder}"
    assert leases == [{"duration": zerogpu.COMPILE_S, "size": "xlarge"}]


@pytest.mark.parametrize(
    "error",
    [ConfigError("compile", "aot", "there is no compiler", "Use 'off'."), gr.Error("there is no compiler")],
    ids=["it fails there", "no GPU is lent"],
)
def test_blocks_that_cannot_be_compiled_run_eagerly_and_the_log_says_why(
    error: Exception, packages: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(zerogpu, "compile_package", fail)
    models, lines = Uncompiled(), list[str]()
    zerogpu.compile_blocks(models, lines.append)  # type: ignore[arg-type]
    assert not models.has_compiled_blocks()
    assert lines[-1].startswith("blocks run eagerly")
    assert "there is no compiler" in lines[-1]
    assert "there is no compiler" in caplog.text
