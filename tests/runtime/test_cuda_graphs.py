"""Captured passes: rereplayed in static buffers, they give what eager passes give."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from longlive.config import StreamConfig
from longlive.models.kv_cache import KVCache
from longlive.models.list_cache import ListCache
from longlive.runtime.cuda_graphs import CudaGraphCapture, EagerCapture, GraphReplayer, Run
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


class CountingCapture:
    """Counts captures, and replays of all of them."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, run: Run) -> Any:
        self.captures += 1
        replay, result = EagerCapture()(run)

        def counted() -> None:
            self.replays += 1
            replay()

        return counted, result


def steady_cache(**choices: Any) -> KVCache:
    """A cache whose window is full."""
    stream = StreamConfig(**choices)
    cache = KVCache(CONFIG, stream, TOKENS_PER_LATENT)
    for start in range(0, stream.window, stream.chunk):
        cache.place(start, stream.chunk)
    return cache


@pytest.mark.parametrize("name", STREAMS)
def test_a_captured_stream_equals_an_eager_one(name: str) -> None:
    """Prompts change on the way, steps and clean passes alternate, and the ring goes round twice."""
    stream, plain, replayed = STREAMS[name], tiny_transformer(), tiny_transformer()
    replayed.pass_runner = GraphReplayer(EagerCapture)
    caches = [KVCache(CONFIG, stream, TOKENS_PER_LATENT) for _ in range(2)]
    for start in range(0, 10 * stream.chunk, stream.chunk):
        prompt, latents = random_prompt(plain, seed=start // 5), random_latents(stream.chunk, seed=start)
        for timestep in (900.0, 400.0):
            expected = plain(latents, timestep, prompt, caches[0], start=start)
            assert torch.equal(replayed(latents, timestep, prompt, caches[1], start=start), expected)
        for model, cache in zip((plain, replayed), caches, strict=True):
            model.remember(latents + 1, 0.0, prompt, cache, start=start)
        for layer in range(CONFIG.num_layers):
            for latent, pair in caches[0].contents(layer).items():
                assert all(map(torch.equal, pair, caches[1].contents(layer)[latent]))


def test_few_captures_serve_a_long_stream() -> None:
    """Three places in the ring, each with and without the head; the first pass of a kind runs eagerly."""
    model, capture = tiny_transformer(), CountingCapture()
    model.pass_runner = GraphReplayer(lambda: capture)
    cache, prompt = steady_cache(positions="relative"), random_prompt(model)
    for start in range(12, 102, 3):
        for _ in range(4):
            model(random_latents(3), 500.0, prompt, cache, start=start)
        model.remember(random_latents(3), 0.0, prompt, cache, start=start)
    assert capture.captures == 2 * 3
    assert capture.captures + capture.replays == 30 * 5 - 2 * 3


def test_nothing_is_captured_while_the_window_fills_or_at_a_switch() -> None:
    """A viewer waits for the first chunk and for a recache, and neither comes again in the same way."""
    model, capture = tiny_transformer(), CountingCapture()
    model.pass_runner, prompt = GraphReplayer(lambda: capture), random_prompt(model)
    cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT)
    for start in range(0, 9, 3):
        for _ in range(4):
            model(random_latents(3), 500.0, prompt, cache, start=start)
    cache = steady_cache()
    for _ in range(3):
        model.remember(random_latents(9), 0.0, prompt, cache, start=3)
    assert capture.captures == 0


def test_a_result_outlives_the_next_pass() -> None:
    model = tiny_transformer()
    model.pass_runner = GraphReplayer(EagerCapture)
    cache, prompt = steady_cache(), random_prompt(model)
    for _ in range(2):
        first = model(random_latents(3), 500.0, prompt, cache, start=9)
    copy = first.clone()
    model(random_latents(3, seed=1), 500.0, prompt, cache, start=9)
    assert torch.equal(first, copy)


def test_buffers_are_shared_by_captures_and_a_prompt_is_copied_once() -> None:
    model = tiny_transformer()
    model.pass_runner = GraphReplayer(EagerCapture)
    cache, prompt = steady_cache(), random_prompt(model)
    for _ in range(2):
        model(random_latents(3), 500.0, prompt, cache, start=9)
    inputs = cache.captured["inputs"]
    keys = next(buffer for key, buffer in inputs.buffers.items() if key[0] == ("keys", 0))
    keys.zero_()
    model(random_latents(3), 500.0, prompt, cache, start=9)
    assert not keys.any(), "the same prompt is not copied again"
    model(random_latents(3), 500.0, random_prompt(model, seed=1), cache, start=9)
    assert torch.equal(keys, random_prompt(model, seed=1).keys[0])
    assert sum(key[0] == ("keys", 0) for key in inputs.buffers) == 1


def test_training_clips_and_other_caches_run_eagerly() -> None:
    model, capture = tiny_transformer(), CountingCapture()
    model.pass_runner, prompt = GraphReplayer(lambda: capture), random_prompt(model)
    model(random_latents(3), 500.0, prompt)
    model(random_latents(3), 500.0, prompt, ListCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT))
    with torch.enable_grad():
        model(random_latents(3), 500.0, prompt, KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT))
    assert capture.captures == 0


def test_captures_are_dropped_when_the_storage_moves() -> None:
    cache = KVCache(CONFIG, StreamConfig(window=-1), TOKENS_PER_LATENT)
    cache.captured["something"] = 1
    cache.place(0, 24)
    assert cache.captured
    cache.place(24, 3)
    assert not cache.captured


class Device:
    """Stands for torch.cuda: a pool of memory is gone with its last graph, and must not be used again."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.graphs: dict[int, weakref.WeakSet[Any]] = {}
        device = self

        class Graph:
            def replay(self) -> None:
                device.calls.append("replay")

        self.CUDAGraph = Graph

    def graph_pool_handle(self) -> int:
        return len(self.graphs) + 7

    @contextmanager
    def graph(self, graph: Any, *, pool: int, capture_error_mode: str) -> Iterator[None]:
        assert pool not in self.graphs or self.graphs[pool], f"pool {pool} is gone with its graphs"
        self.graphs.setdefault(pool, weakref.WeakSet()).add(graph)
        self.calls.append(f"capture in pool {pool}, {capture_error_mode}")
        yield
        self.calls.append("captured")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    for name in ("CUDAGraph", "graph", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, getattr(device, name))
    return device


def test_cuda_graphs_are_captured_and_replayed_in_one_pool(device: Device) -> None:
    capture = CudaGraphCapture()
    replays = [capture(lambda: device.calls.append("run") or "result") for _ in range(2)]
    assert [result for _, result in replays] == ["result"] * 2
    assert device.calls == 2 * ["capture in pool 7, thread_local", "run", "captured", "replay"]
    replays[0][0]()
    assert device.calls[-1] == "replay" and len(device.calls) == 9


def test_each_stream_has_a_pool_which_is_never_used_after_its_last_graph(device: Device) -> None:
    model = tiny_transformer()
    model.pass_runner, prompt = GraphReplayer(), random_prompt(model)
    for _ in range(3):
        cache = steady_cache()
        for start in (9, 12, 15):
            for _ in range(3):
                model(random_latents(3), 500.0, prompt, cache, start=start)
        assert len(device.graphs[max(device.graphs)]) == 3
        del cache
        gc.collect()
        assert not device.graphs[max(device.graphs)], "a stream's graphs are freed with its cache"
    assert sorted(device.graphs) == [7, 8, 9]


def test_a_cache_that_drops_its_captures_drops_their_pool(device: Device) -> None:
    model, cache = tiny_transformer(), steady_cache()
    model.pass_runner, prompt = GraphReplayer(), random_prompt(model)
    for _ in range(2):
        for _ in range(3):
            model(random_latents(3), 500.0, prompt, cache, start=9)
        cache.set_storage_dtype(torch.bfloat16)
        assert not cache.captured
        gc.collect()
        cache.set_storage_dtype(torch.float32)
    assert sorted(device.graphs) == [7, 8]
