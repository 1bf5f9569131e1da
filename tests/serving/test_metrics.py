"""What is counted, and that nothing of anybody's gets into it."""

import time

import psutil
import pytest
import torch

from longlive.serving import metrics as module
from longlive.serving.metrics import FAILURES_IN_A_ROW, Metrics
from tests.support.metrics_reader import figures


def test_every_event_is_counted_once_under_its_word() -> None:
    metrics = Metrics()
    metrics.count_start()
    metrics.count_end("limit")
    metrics.count_failure("worker_lost")
    metrics.count_resume("quick")
    metrics.count_prompt("hard")
    metrics.count_refused_prompt()
    metrics.count_dropped(3)
    metrics.count_stalls(2)
    seen = figures(metrics)
    assert {name: value for name, value in seen.items() if name.startswith("longlive_") and value} == {
        "longlive_runs_started_total": 1,
        "longlive_runs_ended_total{reason=limit}": 1,
        "longlive_failures_total{kind=worker_lost}": 1,
        "longlive_resumes_total{mode=quick}": 1,
        "longlive_prompts_total{switch=hard}": 1,
        "longlive_prompts_refused_total": 1,
        "longlive_dropped_messages_total": 3,
        "longlive_stalls_total": 2,
        "longlive_threads": seen["longlive_threads"],
    }


def test_every_word_stands_at_0_before_anything_has_happened() -> None:
    seen = figures(Metrics())
    for reason in ("stopped", "complete", "limit", "abandoned", "failed"):
        assert seen[f"longlive_runs_ended_total{{reason={reason}}}"] == 0
    for kind in ("model", "memory", "encoder", "disk", "worker_lost"):
        assert seen[f"longlive_failures_total{{kind={kind}}}"] == 0
    assert "longlive_capacity" not in seen, "what nobody watches is not told"
    assert not [name for name in seen if name.endswith("_created")]


@pytest.mark.parametrize("word", ["<b>my prompt</b>", 'a"} 1\nforged 7', "", None])
def test_a_stranger_s_word_becomes_no_label(word: str) -> None:
    metrics = Metrics()
    metrics.count_end(word)
    metrics.count_failure(word)
    metrics.count_resume(word)
    metrics.count_prompt(word)
    text, seen = metrics.text().decode(), figures(metrics)
    assert "my prompt" not in text and "forged" not in text
    assert (
        seen["longlive_runs_ended_total{reason=other}"] == seen["longlive_prompts_total{switch=other}"] == 1
    )


def test_chunks_and_waits_fall_into_buckets_that_suit_them() -> None:
    metrics = Metrics()
    metrics.count_pictures(9)
    metrics.count_pictures(12, chunk_s=0.18)
    metrics.count_pictures(12, chunk_s=2.5)
    metrics.observe_first_picture(0.4)
    metrics.observe_prompt_latency(1.4)
    seen = figures(metrics)
    assert seen["longlive_pictures_total"] == 33
    assert seen["longlive_chunk_seconds_count"] == 2
    assert seen["longlive_chunk_seconds_bucket{le=0.15}"] == 0
    assert seen["longlive_chunk_seconds_bucket{le=0.2}"] == 1
    assert seen["longlive_chunk_seconds_bucket{le=3.0}"] == 2
    assert seen["longlive_first_picture_seconds_sum"] == 0.4
    assert seen["longlive_prompt_to_picture_seconds_bucket{le=1.5}"] == 1


@pytest.mark.parametrize("told", [float("nan"), float("inf"), -1.0, 1e9])
def test_what_no_player_can_have_seen_is_not_counted(told: float) -> None:
    metrics = Metrics()
    metrics.observe_first_picture(told)
    metrics.observe_prompt_latency(told)
    assert figures(metrics)["longlive_first_picture_seconds_count"] == 0
    assert figures(metrics)["longlive_prompt_to_picture_seconds_count"] == 0


def test_a_player_cannot_lower_the_stalls_nor_flood_them() -> None:
    metrics = Metrics()
    metrics.count_stalls(-5)
    metrics.count_stalls(10**9)
    assert figures(metrics)["longlive_stalls_total"] == module.MAX_STALLS_PER_REPORT


def test_gauges_are_asked_when_somebody_reads_and_one_that_breaks_costs_itself_alone() -> None:
    metrics, playing = Metrics(), [3]
    metrics.watch("sessions", lambda: len(playing))
    metrics.watch("capacity", lambda: 1 // 0)
    assert figures(metrics)["longlive_sessions"] == 1
    playing.append(4)
    seen = figures(metrics)
    assert seen["longlive_sessions"] == 2 and seen["longlive_capacity"] != seen["longlive_capacity"]
    metrics.watch("capacity", lambda: 4)
    assert figures(metrics)["longlive_capacity"] == 4


def test_memory_and_threads_of_the_process_are_told() -> None:
    seen, process = figures(Metrics()), psutil.Process()
    assert seen["process_resident_memory_bytes"] == pytest.approx(process.memory_info().rss, rel=0.2)
    assert seen["longlive_threads"] == process.num_threads()


def test_a_cpu_has_no_gpu_memory_to_tell_of() -> None:
    metrics = Metrics()
    metrics.watch_gpu(torch.device("cpu"))
    assert "gpu" not in metrics.text().decode()


def test_the_memory_of_a_gpu_is_asked_for_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, answer in (("memory_allocated", 5), ("memory_reserved", 8), ("mem_get_info", (13, 80))):
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer)
    metrics = Metrics()
    metrics.watch_gpu(torch.device("cuda:1"))
    seen = figures(metrics)
    assert [seen[f"longlive_gpu_bytes{{state={state}}}"] for state in ("tensors", "torch", "free")] == [
        5,
        8,
        13,
    ]


def test_it_keeps_failing_when_one_story_after_the_other_does_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = Metrics()
    for _ in range(FAILURES_IN_A_ROW - 1):
        metrics.count_end("failed")
    assert not metrics.keeps_failing
    metrics.count_end("failed")
    assert metrics.keeps_failing
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.FAILING_S + 1)
    assert not metrics.keeps_failing, "or nobody would be let in who could show that all is well"
    monkeypatch.undo()
    metrics.count_end("complete")
    assert not metrics.keeps_failing


def test_the_speed_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, now = Metrics(), [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert metrics.fps == 0
    for _ in range(5):
        metrics.count_pictures(12)
        now[0] += 0.75
    assert metrics.fps == pytest.approx(60 / 3.75)
    now[0] += module.FPS_WINDOW_S - 1.0
    assert metrics.fps < 3, "the first have grown old"
    now[0] += module.FPS_WINDOW_S
    assert metrics.fps == 0


def test_two_engines_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.count_start()
    assert figures(second)["longlive_runs_started_total"] == 0
