"""What only a GPU can show: fused kernels and graphs at a real head's size, and streams that come and go.

Needs no web packages: ``pytest tests/runtime/test_gpu.py tests/runtime/test_fused_blocks.py``.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from longlive import ModelBundle, Session
from longlive.benchmark.steady_pass import steady_pass
from longlive.chunks import FrameChunk
from longlive.generation.lookahead import Pipeline
from longlive.media.h264 import choose_encoder
from longlive.media.segments import SegmentEncoder
from longlive.models.decoder import StreamingDecoder, to_uint8
from longlive.runtime.startup import RuntimeOptions, accelerate, warm
from longlive.weights.random_models import random_models

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def models_of(**choices: Any) -> ModelBundle:
    """The mid-size model, whose heads have 128 channels as the released one's; the same weights each time."""
    chosen = RuntimeOptions(**{"device": "cuda", "dtype": "bfloat16", "decoder": "tiny"} | choices)
    models = random_models("mid-size", device="cuda", dtype=torch.bfloat16, decoder=chosen.decoder)
    return accelerate(models, chosen, chosen.preset())


@pytest.fixture(scope="module")
def plain() -> ModelBundle:
    return models_of()


@pytest.fixture(scope="module")
def graphs() -> Iterator[ModelBundle]:
    models = models_of(compile="graphs")
    assert models.transformer.fused is not None, "our kernels run the blocks"
    list(warm(models, RuntimeOptions(compile="graphs")))
    yield models


def steady(models: ModelBundle, repeats: int) -> Callable[[], Tensor]:
    def run() -> Tensor:
        torch.manual_seed(0)
        once = steady_pass(models)
        return [once() for _ in range(repeats)][-1]

    return run


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def test_a_fused_and_captured_pass_is_the_plain_one_within_rounding(
    plain: ModelBundle, graphs: ModelBundle
) -> None:
    expected = steady(plain, 1)()
    assert distance(steady(graphs, 1)(), expected) < 2e-2
    assert distance(steady(graphs, 3)(), expected) < 2e-2, "replayed from its graph"


def test_products_in_eight_bits_are_near(plain: ModelBundle) -> None:
    rounded = models_of(compile="default", quantize="fp8")
    assert rounded.transformer.fused is not None
    assert 1e-3 < distance(steady(rounded, 1)(), steady(plain, 1)()) < 0.15


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_streams_with_graphs_come_and_go(plain: ModelBundle, graphs: ModelBundle, positions: Any) -> None:
    """Each frees its graphs; the next has a pool of its own. One begins while another goes on."""
    latents: list[list[Tensor]] = []
    for models in (plain, graphs, graphs):
        with Session(models, "a red ball", seed=3, positions=positions) as session:
            made = []
            for chunk in range(9):
                if chunk == 7:
                    session.set_prompt("a blue ball", "soft")
                made.append(session.next_latents().latents)
            with Session(models, "a cube", seed=4, positions=positions) as other:
                other.next_latents()
            latents.append(made)
    assert distance(latents[1][0], latents[0][0]) < 0.1, "rounding, carried on by four steps"
    for first, second in zip(*latents[1:], strict=True):
        assert first.isfinite().all()
        assert torch.equal(first, second), "graphs give the same each time"


def test_a_chunk_is_decoded_beside_the_next(graphs: ModelBundle) -> None:
    alone, beside = [], []
    with Session(graphs, "a red ball", seed=3) as session:
        alone = [session.next_chunk() for _ in range(7)]
    with Session(graphs, "a red ball", seed=3) as session:
        line = Pipeline(session.next_latents)
        line.begin()
        for _ in range(7):
            latents = line.result()
            line.begin()
            beside.append(session.decode(latents))
        line.result()
        line.close()
    for one, other in zip(alone, beside, strict=True):
        assert (one.frames == other.frames).all()


def test_a_wan_vae_decodes_beside_the_next_chunk() -> None:
    """Its attention has one head of 384 channels, which cuDNN does not take: nothing may force cuDNN."""
    models = models_of(decoder="wan", compile="graphs")
    with Session(models, "a red ball", seed=3) as session:
        line = Pipeline(session.next_latents)
        line.begin()
        for _ in range(7):
            latents = line.result()
            line.begin()
            assert session.decode(latents).frames.any()
        line.result()
        line.close()


def test_pictures_are_those_of_a_cpu() -> None:
    models = random_models("mid-size", device="cuda", dtype=torch.float32, decoder="tiny")
    on_cpu = random_models("mid-size", device="cpu", dtype=torch.float32, decoder="tiny")
    on_cpu.decoder.load_state_dict(models.decoder.state_dict())
    latents = torch.randn(1, 2, *models.config.latent_shape)
    torch.backends.cudnn.allow_tf32 = False
    found = StreamingDecoder(models.decoder, 16).decode_latents(latents.cuda())
    expected = StreamingDecoder(on_cpu.decoder, 16).decode_latents(latents)
    assert torch.allclose(found.cpu(), expected, atol=1e-3)
    assert abs(to_uint8(found[0]).astype(int) - to_uint8(expected[0])).max() <= 1


def test_segments_are_encoded_by_what_opens_here() -> None:
    encoder = choose_encoder("auto", torch.device("cuda"), 832, 480)
    pictures = torch.randint(0, 255, (12, 480, 832, 3), dtype=torch.uint8).numpy()
    segment = SegmentEncoder(encoder=encoder).encode(FrameChunk(0, 0, "a ball", 0, pictures, 16))
    assert encoder in ("nvenc", "x264")
    assert segment.num_frames == 12 and len(segment.data) > 10_000
