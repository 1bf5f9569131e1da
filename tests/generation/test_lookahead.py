"""Chunks made ahead are those made one by one, and faults are raised where the result is asked for."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from longlive import ModelBundle, Session
from longlive.chunks import LatentChunk
from longlive.generation.lookahead import (
    OnLatents,
    Pipeline,
    SequentialPipeline,
    run_in_pipeline_thread,
)


def chunk(index: int) -> LatentChunk:
    return LatentChunk(index, 0, "a ball", 3 * index, torch.zeros(1))


@pytest.fixture
def pipe() -> object:
    pipelines: list[Pipeline] = []

    def make(function: Callable[[OnLatents], object]) -> Pipeline:
        pipelines.append(Pipeline(function))
        return pipelines[-1]

    yield make
    for one in pipelines:
        one.close()


def test_a_chunk_is_handed_over_before_it_is_remembered(pipe) -> None:
    may_go_on, order = threading.Event(), []

    def make(on_latents: OnLatents) -> None:
        number = len(order)
        order.append("made")
        on_latents(chunk(number))
        may_go_on.wait(10)
        order.append("returned")

    pipeline = pipe(make)
    assert not pipeline.is_begun
    pipeline.begin()
    assert pipeline.is_begun
    assert pipeline.result().index == 0
    assert order == ["made"] and not pipeline.is_begun
    pipeline.begin()  # waits for its turn behind what is left of the chunk
    may_go_on.set()
    assert pipeline.result().index == 2
    assert order[:3] == ["made", "returned", "made"]


def test_a_fault_comes_out_where_the_chunk_is_asked_for(pipe) -> None:
    def make(_: OnLatents) -> None:
        raise RuntimeError("the weights fell over")

    pipeline = pipe(make)
    pipeline.begin()
    with pytest.raises(RuntimeError, match="fell over"):
        pipeline.result()


def test_a_fault_after_the_hand_over_comes_out_at_the_next_chunk(pipe) -> None:
    def make(on_latents: OnLatents) -> None:
        on_latents(chunk(0))
        raise RuntimeError("the memory ran out")

    pipeline = pipe(make)
    pipeline.begin()
    assert pipeline.result().index == 0
    pipeline.begin()
    with pytest.raises(RuntimeError, match="ran out"):
        pipeline.result()


def test_pictures_made_beside_the_next_chunk_are_those_made_in_turn(tiny_models: ModelBundle, pipe) -> None:
    plain, ahead = (Session(tiny_models, "a red ball", seed=3) for _ in range(2))
    with plain, ahead:
        expected = [plain.next_chunk().frames for _ in range(4)]
        pipeline = pipe(ahead.next_latents)
        pipeline.begin()
        for frames in expected:
            latents = pipeline.result()
            pipeline.begin()
            assert np.array_equal(ahead.decode(latents).frames, frames)
        pipeline.close()
        assert ahead.digests[:4] == plain.digests
        assert {"denoise", "remember", "decode"} <= set(ahead.stage_ms)


def test_without_a_thread_a_chunk_is_made_when_its_result_is_asked_for() -> None:
    made: list[int] = []

    def make(on_latents: OnLatents) -> None:
        made.append(len(made))
        on_latents(chunk(made[-1]))

    pipeline = SequentialPipeline(make)
    pipeline.begin()
    assert not made and not pipeline.is_begun
    assert [pipeline.result().index for _ in range(2)] == [0, 1]
    pipeline.close()


def test_a_thread_serves_one_pipeline_after_another(pipe) -> None:
    """So what libraries cache per thread, at the warm-up first, is there for the next viewer."""
    threads: list[int] = [run_in_pipeline_thread(threading.get_ident)]

    def make(on_latents: OnLatents) -> None:
        threads.append(threading.get_ident())
        on_latents(chunk(0))

    for _ in range(2):
        pipeline = pipe(make)
        pipeline.begin()
        pipeline.result()
        pipeline.close()
        pipeline.close()
    assert threads == threads[:1] * 3 and threads[0] != threading.get_ident()
    together = [pipe(make) for _ in range(2)]
    for pipeline in together:
        pipeline.begin()
        pipeline.result()
    assert len(set(threads[3:])) == 2, "pipelines in use share no thread"


def test_closing_waits_for_the_chunk_that_is_made_and_begins_no_other(pipe) -> None:
    may_go_on, made = threading.Event(), []

    def make(on_latents: OnLatents) -> None:
        on_latents(chunk(len(made)))
        may_go_on.wait(10)
        made.append("chunk")

    pipeline = pipe(make)
    pipeline.begin()
    pipeline.result()
    pipeline.begin()
    threading.Timer(0.05, may_go_on.set).start()
    pipeline.close()
    assert made == ["chunk"]
    with pytest.raises(AssertionError):
        pipeline.begin()
