"""What is made ahead is what would be made in turn, and faults come out where somebody asks."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from longlive import ModelBundle, Session
from longlive.chunks import LatentChunk
from longlive.generation.cuda_streams import SideStream
from longlive.generation.lookahead import OnLatents, Pipeline
from longlive.serving.runs.events import RunFinished
from tests.support.fakes import FakeModels, make_engine
from tests.support.run_reader import is_finished, read


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
    post_attention, order = threading.Event(), []

    def make(on_latents: OnLatents) -> None:
        number = len(order)
        order.append("made")
        on_latents(chunk(number))
        post_attention.wait(10)
        order.append("remembered")

    pipeline = pipe(make)
    assert not pipeline.is_begun
    pipeline.begin()
    assert pipeline.is_begun
    assert pipeline.take().index == 0
    assert order == ["made"] and not pipeline.is_begun
    pipeline.begin()  # waits for its turn behind the clean pass
    post_attention.set()
    assert pipeline.take().index == 2
    assert order[:3] == ["made", "remembered", "made"]


def test_a_fault_comes_out_where_the_chunk_is_asked_for(pipe) -> None:
    def make(_: OnLatents) -> None:
        raise RuntimeError("the weights fell over")

    pipeline = pipe(make)
    pipeline.begin()
    with pytest.raises(RuntimeError, match="fell over"):
        pipeline.take()


def test_a_fault_after_the_hand_over_comes_out_at_the_next_chunk(pipe) -> None:
    def make(on_latents: OnLatents) -> None:
        on_latents(chunk(0))
        raise RuntimeError("the memory ran out")

    pipeline = pipe(make)
    pipeline.begin()
    assert pipeline.take().index == 0
    pipeline.begin()
    with pytest.raises(RuntimeError, match="ran out"):
        pipeline.take()


def test_pictures_made_beside_the_next_chunk_are_those_made_in_turn(tiny_models: ModelBundle, pipe) -> None:
    plain, ahead = (Session(tiny_models, "a red ball", seed=3) for _ in range(2))
    with plain, ahead:
        expected = [plain.next_chunk().frames for _ in range(4)]
        pipeline = pipe(ahead.next_latents)
        pipeline.begin()
        for frames in expected:
            latents = pipeline.take()
            pipeline.begin()
            assert np.array_equal(ahead.decode(latents).frames, frames)
        pipeline.close()
        assert ahead.digests[:4] == plain.digests
        assert {"denoise", "remember", "decode"} <= set(ahead.stage_ms)


def test_a_chunk_is_drawn_while_the_one_before_is_decoded() -> None:
    seen = {}
    for overlap in (False, True):
        models = FakeModels(chunk_s=0.03, decode_s=0.03)
        engine = make_engine(models, overlap=overlap, max_video_s=4.0, buffer_ahead_s=99)
        finished = read(engine.start("ada", "a ball", seed=0), is_finished)[-1]
        assert isinstance(finished, RunFinished) and finished.video is not None
        engine.close()
        seen[overlap] = models.overlapped
    assert seen[False] == 0
    assert seen[True] >= 3


def test_on_a_cpu_there_is_no_stream_beside_the_main_one() -> None:
    aside = SideStream(torch.device("cpu"))
    assert aside.mark() is None
    with aside.after(None, torch.zeros(1)):
        assert torch.ones(1).item() == 1
