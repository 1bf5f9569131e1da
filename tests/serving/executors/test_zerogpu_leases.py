"""Leases, refusals and pauses, with ``spaces`` as it is off ZeroGPU: what it decorates stays as it is."""

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
from longlive.serving.executors.events import ExecutorEvent, Finished, Preempted, SegmentEvent
from longlive.serving.executors.file_mailbox import FileMailbox
from longlive.serving.executors.job import Job, ResumeState
from longlive.serving.executors.mailbox import MemoryMailbox
from longlive.serving.executors.messages import Playhead, Prompt, Stop
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

NEW = Job(name="ada", seed=0, prompts=(Prompt("a ball"),), limits=Limits(ahead_s=math.inf, video_s=3.0))
QUOTA = "You have exceeded your free ZeroGPU quota ({}s requested vs. {}s left). Try again in 3:12:00. "


@pytest.fixture
def carrier() -> Iterator[ZeroGpuExecutor]:
    carrier = ZeroGpuExecutor(
        FakeModels(), make_studio=lambda models: ModelRunner(models, open_session=FakeSession)
    )
    yield carrier
    carrier.close()


def shots(reports: list[ExecutorEvent]) -> list[SegmentEvent]:
    return [report for report in reports if isinstance(report, SegmentEvent) and report.kept]


def after(carrier: ZeroGpuExecutor, **limits: float) -> Job:
    """The order that goes on with what ``NEW`` made."""
    made = [shot.kept for shot in shots(list(carrier.start(NEW).reports()))]
    record = made[0].record
    past = ResumeState(
        type(record)(
            **vars(record) | {"prompts": (made[0].event,), "chunks": tuple(one.digest for one in made)}
        ),
        tuple(one.latents for one in made),
        num_frames=36,
        exact=True,
    )
    return Job(name="ada", seed=0, prompts=(), limits=Limits(**limits), past=past, playhead=Playhead(0.0))


def gone_on(carriage: ZeroGpuHandle) -> tuple[list[ExecutorEvent], threading.Thread]:
    """What a carriage reports, read in a thread."""
    found: list[ExecutorEvent] = []
    thread = threading.Thread(target=lambda: found.extend(carriage.reports()), daemon=True)
    thread.start()
    return found, thread


def test_a_story_is_carried_and_takes_messages(carrier: ZeroGpuExecutor) -> None:
    carriage = carrier.start(NEW)
    assert carriage.begun == -1
    assert carriage.post(Prompt("a cube", chunk=2)) == Prompt("a cube", chunk=2)
    reports = list(carriage.reports())
    last = reports[-1]
    assert isinstance(last, Finished) and last.reason.startswith("The story is complete")
    assert [shot.kept.event.text for shot in shots(reports) if shot.kept.event] == ["a ball", "a cube"]
    assert carriage.begun == len(shots(reports)) - 1
    assert carriage.post(Prompt("late")).chunk == len(shots(reports)), "nobody reads it, and nothing breaks"


def test_a_lease_runs_from_when_it_is_sent_to_the_worker() -> None:
    lease = Lease(40.0)
    assert lease.left_s() == 40.0
    time.sleep(0.05)
    arrived = pickle.loads(pickle.dumps(lease))
    assert 39.9 < arrived.left_s() <= 40.0
    assert pickle.loads(pickle.dumps(Lease(40.0, since=1.0))).since > 1.0


def test_a_worker_stops_at_a_chunk_before_its_lease_is_over(carrier: ZeroGpuExecutor, tmp_path: Path) -> None:
    begun = time.monotonic()
    endless = Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(ahead_s=math.inf))
    reports = list(carrier.work(endless, tmp_path, Lease(2.5)))
    assert reports[-1] == Preempted("The lease is over.")
    assert 0.5 < time.monotonic() - begun < 2.5
    assert len(shots(reports)) > 3


def test_in_the_last_seconds_of_a_lease_more_is_made_ahead_and_then_no_more() -> None:
    """The viewer has that to see while the story is on its way into the next lease."""
    left_s = [60.0]
    order = Job(
        name="ada", seed=0, prompts=NEW.prompts, limits=Limits(ahead_s=1.5), playhead=Playhead(0.0, False)
    )
    studio = ModelRunner(FakeModels(), open_session=FakeSession)
    producer = StreamWorker(order, MemoryMailbox(), studio, left_s=lambda: left_s[0])
    found: list[ExecutorEvent] = []
    thread = threading.Thread(target=lambda: found.extend(producer.reports()), daemon=True)
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
    assert found[-1] == Preempted("The lease is over.")


def test_the_way_back_into_a_story_does_not_count_as_the_time_of_a_chunk(tmp_path: Path) -> None:
    """Else a lease whose first chunk waited for a long replay would end with it."""
    models = FakeModels(open_s=1.0)
    carrier = ZeroGpuExecutor(models, make_studio=lambda _: ModelRunner(models, open_session=FakeSession))
    endless = Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(ahead_s=math.inf))
    assert len(shots(list(carrier.work(endless, tmp_path, Lease(3.5))))) > 3
    carrier.close()


@pytest.mark.parametrize(
    ("requested", "left", "seconds"),
    [(40, 39, 37.0), (40, 15, 13.0), (40, 14, None), (40, 0, None), (60, 41, 26.0), (80, 79, 38.5)],
)
def test_a_lease_is_cut_to_what_the_quota_leaves(requested: int, left: int, seconds: float | None) -> None:
    assert affordable(QUOTA.format(requested, left), 40.0) == seconds


def test_a_refusal_that_names_no_seconds_leaves_no_lease() -> None:
    assert affordable("No GPU was available after 60s", 40.0) is None


@contextmanager
def refused(carrier: ZeroGpuExecutor, *errors: Exception) -> Iterator[list[float]]:
    """Let ``spaces`` refuse so often; the leases that were asked for."""
    left, work, asked = list(errors), carrier.work, []

    def refuse(order: Job, folder: Path, lease: Lease) -> Iterator[ExecutorEvent]:
        asked.append(lease.seconds)
        if left:
            raise left.pop(0)
        yield from work(order, folder, lease)

    carrier.work = refuse
    yield asked
    carrier.work = work


def test_what_is_left_of_the_quota_is_asked_for_once(carrier: ZeroGpuExecutor) -> None:
    errors = [gr.Error(QUOTA.format(40, left), title="ZeroGPU quota exceeded") for left in (30, 20)]
    with refused(carrier, errors[0]) as asked:
        assert isinstance(list(carrier.start(NEW).reports())[-1], Finished)
        assert asked == [40.0, 28.0]
    with refused(carrier, *errors):
        (last,) = carrier.start(NEW).reports()
        assert last == Finished(QUOTA.format(40, 20).strip(), failed=True)


def test_a_story_that_was_begun_ends_in_the_words_of_the_refusal_and_is_kept(
    carrier: ZeroGpuExecutor,
) -> None:
    order = after(carrier)
    with refused(carrier, gr.Error(QUOTA.format(40, 3), title="ZeroGPU quota exceeded")):
        (last,) = carrier.start(order).reports()
    assert last == Finished(f"The story ends here. {QUOTA.format(40, 3).strip()}", keep=True, failed=False)


def test_busy_gpus_are_asked_again_later(carrier: ZeroGpuExecutor) -> None:
    with refused(carrier, gr.Error("No GPU was available after 60s", title="ZeroGPU queue timeout")):
        assert list(carrier.start(NEW).reports()) == [Preempted("No GPU was available after 60s")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (gr.Error("GPU task aborted", title="ZeroGPU worker error"), "GPU task aborted"),
        (gr.Error("KeyError", title="ZeroGPU worker error"), "KeyError"),
        (RuntimeError("Unexpected end of stream"), "RuntimeError: Unexpected end of stream"),
        (ConnectionError("refused"), "ConnectionError"),
    ],
)
def test_a_worker_that_is_gone_is_lost(carrier: ZeroGpuExecutor, error: Exception, words: str) -> None:
    with refused(carrier, error), pytest.raises(LostError, match=words):
        list(carrier.start(NEW).reports())


def test_a_reader_who_goes_away_stops_the_worker(carrier: ZeroGpuExecutor) -> None:
    carriage = carrier.start(NEW)
    reports = carriage.reports()
    next(reports)
    reports.close()
    assert Stop("Nobody reads what is made.") in FileMailbox(carriage._folder).poll()


def test_a_pause_gives_the_gpu_back_and_play_asks_for_one_again(
    carrier: ZeroGpuExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zerogpu, "PAUSE_S", 0.3)
    further = after(carrier, ahead_s=1.5)
    carriage = carrier.start(Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(ahead_s=1.5)))
    found, thread = gone_on(carriage)
    until(lambda: shots(found))
    while thread.is_alive():
        carriage.post(Playhead(0.1, playing=False))
        thread.join(0.05)
    assert found[-1] == Preempted("The viewer pauses.")
    assert carrier.paused == {"ada"}

    carriage = carrier.start(further)
    found, thread = gone_on(carriage)
    carriage.post(Playhead(0.1, playing=False))
    thread.join(0.5)
    assert not found and carrier.paused, "no GPU is asked for while the viewer stands still"
    carriage.post(Playhead(2.2, playing=True))
    until(lambda: shots(found))
    assert not carrier.paused
    carriage.post(Stop("Enough."))
    thread.join(10)
    assert found[-1] == Finished("Enough.")


def test_a_story_that_is_stopped_while_its_viewer_pauses_asks_for_no_gpu(carrier: ZeroGpuExecutor) -> None:
    order = after(carrier)
    carrier.paused.add("ada")
    with refused(carrier) as asked:
        found, thread = gone_on(carriage := carrier.start(order))
        carriage.post(Stop("Enough.", keep=False))
        thread.join(10)
    assert (found, asked) == ([Finished("Enough.", keep=False)], [])


def test_a_player_that_waits_for_pictures_does_not_pause(
    carrier: ZeroGpuExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zerogpu, "PAUSE_S", 0.0)
    carriage = carrier.start(NEW)
    carriage.post(Playhead(0.0, playing=False))
    assert isinstance(list(carriage.reports())[-1], Finished)
    assert not carrier.paused


def test_on_a_full_disk_a_prompt_is_refused_in_words_and_a_stop_is_obeyed(
    carrier: ZeroGpuExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = Job(name="ada", seed=0, prompts=NEW.prompts, limits=Limits(ahead_s=math.inf))
    carriage = carrier.start(endless)
    found, thread = gone_on(carriage)
    until(lambda: shots(found))

    def write(path: Path, text: str, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write)
    with pytest.raises(MailboxError, match="No space left on device"):
        carriage.post(Prompt("a cube"))
    assert carriage.post(Playhead(0.5)) == Playhead(0.5)
    carriage.post(Stop("Enough.", keep=False))
    thread.join(10)
    assert found[-1] == Finished("Enough.", keep=False)


def test_a_carriage_leaves_no_files_and_a_worker_removes_none(carrier: ZeroGpuExecutor) -> None:
    carriage = carrier.start(NEW)
    folder = carriage._folder
    zerogpu._remove(folder, os.getpid() + 1)
    assert folder.exists(), "it belongs to the process that this one was forked from"
    del carriage
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("facts", [{"lease_s": 5.0}, {"lease_s": 500.0}, {"size": "huge"}], ids=str)
def test_an_impossible_lease_or_size_is_refused_in_words(facts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ZeroGpuExecutor(FakeModels(), **facts)


def test_nothing_is_compiled_for_a_worker() -> None:
    with pytest.raises(ConfigError, match="no time to compile"):
        open_executor("storybook", RuntimeOptions(compile="default"), print)
