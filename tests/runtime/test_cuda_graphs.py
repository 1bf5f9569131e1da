"""Recorded passes: played again in fixed buffers, they give what passes give that run as they are."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from longlive.config import StreamConfig
from longlive.models.kv_cache import KVCache
from longlive.models.list_cache import ListCache
from longlive.runtime.cuda_graphs import CudaGraphCapture, GraphReplayer, Run, eager_capture
from tests.support.tiny_transformer import (
    CONFIG,
    STREAMS,
    TOKENS_PER_LATENT,
    random_latents,
    random_prompt,
    tiny_transformer,
)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class CountingTape:
    """Counts recordings, and playings of all of them."""

    def __init__(self) -> None:
        self.recorded = self.played = 0

    def __call__(self, run: Run) -> Any:
        self.recorded += 1
        play, result = eager_capture(run)

        def counted() -> None:
            self.played += 1
            play()

        return counted, result


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_equals_one_that_is_not(name: str) -> None:
    """Prompts change on the way, steps and clean passes alternate, and the ring goes round twice."""
    stream, plain, played = STREAMS[name], tiny_transformer(), tiny_transformer()
    played.recorder = GraphReplayer(eager_capture)
    caches = [KVCache(CONFIG, stream, TOKENS_PER_LATENT) for _ in range(2)]
    for start in range(0, 10 * stream.chunk, stream.chunk):
        prompt, latents = random_prompt(plain, seed=start // 5), random_latents(stream.chunk, seed=start)
        for timestep in (900.0, 400.0):
            expected = plain(latents, timestep, prompt, caches[0], start=start)
            assert torch.equal(played(latents, timestep, prompt, caches[1], start=start), expected)
        for model, cache in zip((plain, played), caches, strict=True):
            model.remember(latents + 1, 0.0, prompt, cache, start=start)
        for layer in range(CONFIG.num_layers):
            for latent, pair in caches[0].contents(layer).items():
                assert all(map(torch.equal, pair, caches[1].contents(layer)[latent]))


def test_few_recordings_serve_a_long_stream() -> None:
    """Four lengths while the window fills, two more places in the ring; each with and without the head."""
    model, tape = tiny_transformer(), CountingTape()
    model.recorder = GraphReplayer(tape)
    cache, prompt = (
        KVCache(CONFIG, StreamConfig(positions="relative"), TOKENS_PER_LATENT),
        random_prompt(model),
    )
    for start in range(0, 90, 3):
        for _ in range(4):
            model(random_latents(3), 500.0, prompt, cache, start=start)
        model.remember(random_latents(3), 0.0, prompt, cache, start=start)
    assert tape.recorded == 2 * (4 + 2)
    assert tape.recorded + tape.played == 30 * 5


def test_a_result_outlives_the_next_pass() -> None:
    model = tiny_transformer()
    model.recorder = GraphReplayer(eager_capture)
    cache, prompt = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT), random_prompt(model)
    first = model(random_latents(3), 500.0, prompt, cache)
    copy = first.clone()
    model(random_latents(3, seed=1), 500.0, prompt, cache)
    assert torch.equal(first, copy)


def test_buffers_are_shared_by_recordings_and_a_prompt_is_copied_once() -> None:
    model = tiny_transformer()
    model.recorder = GraphReplayer(eager_capture)
    cache, prompt = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT), random_prompt(model)
    model(random_latents(3), 500.0, prompt, cache)
    stage = cache.recordings["stage"]
    keys = next(buffer for key, buffer in stage.buffers.items() if key[0] == ("keys", 0))
    keys.zero_()
    model(random_latents(3), 500.0, prompt, cache, start=3)
    assert not keys.any(), "the same prompt is not copied again"
    model(random_latents(3), 500.0, random_prompt(model, seed=1), cache, start=3)
    assert torch.equal(keys, random_prompt(model, seed=1).keys[0])
    assert sum(key[0] == ("keys", 0) for key in stage.buffers) == 1


def test_training_clips_and_other_caches_run_as_they_are() -> None:
    model, tape = tiny_transformer(), CountingTape()
    model.recorder, prompt = GraphReplayer(tape), random_prompt(model)
    model(random_latents(3), 500.0, prompt)
    model(random_latents(3), 500.0, prompt, ListCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT))
    with torch.enable_grad():
        model(random_latents(3), 500.0, prompt, KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT))
    assert tape.recorded == 0


def test_recordings_are_forgotten_when_the_storage_moves() -> None:
    cache = KVCache(CONFIG, StreamConfig(window=-1), TOKENS_PER_LATENT)
    cache.recordings["something"] = 1
    cache.place(0, 24)
    assert cache.recordings
    cache.place(24, 3)
    assert not cache.recordings


def test_a_cuda_tape_warms_up_records_and_plays_in_one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in for torch.cuda, since the order of calls is what matters."""
    calls: list[str] = []

    class Stream:
        def wait_stream(self, other: "Stream") -> None:
            calls.append("wait")

    class Graph:
        def replay(self) -> None:
            calls.append("replay")

    @contextmanager
    def graph(recording: Graph, **options: Any) -> Iterator[None]:
        calls.append(f"record in pool {options['pool']}, {options['capture_error_mode']}")
        yield
        calls.append("recorded")

    for name, value in (
        ("Stream", Stream),
        ("current_stream", Stream),
        ("stream", lambda stream: nullcontext()),
        ("CUDAGraph", Graph),
        ("graph", graph),
        ("graph_pool_handle", lambda: 7),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    tape = CudaGraphCapture()
    play, result = tape(lambda: calls.append("run") or "result")
    assert result == "result"
    record = "record in pool 7, thread_local"
    assert calls == ["wait", "run", "wait", record, "run", "recorded", "replay"]
    play()
    assert calls[-1] == "replay" and len(calls) == 8
