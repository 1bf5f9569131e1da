"""Our passes against the plain twin: the same predictions, without its copies and without a wait."""

from collections.abc import Iterator

import pytest
import torch

from longlive.benchmark.plain_pass import PlainPass
from longlive.benchmark.profiling import profile_run
from longlive.config import StreamConfig
from longlive.models.kv_cache import KVCache
from longlive.runtime.compilation import optimize_for_inference
from tests.support.tiny_transformer import (
    CONFIG,
    STREAMS,
    TOKENS_PER_LATENT,
    random_latents,
    random_prompt,
    tiny_transformer,
)

CPU = torch.device("cpu")
BOUNDED = {name: stream for name, stream in STREAMS.items() if stream.window != -1}


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", BOUNDED)
def test_a_stream_gives_what_its_plain_twin_gives(name: str) -> None:
    """Steps, then a clean pass, chunk after chunk, until the ring has gone round twice."""
    stream, plain, quick = BOUNDED[name], tiny_transformer(), tiny_transformer()
    optimize_for_inference(quick)
    cache, twin = KVCache(CONFIG, stream, TOKENS_PER_LATENT), PlainPass(plain, stream, TOKENS_PER_LATENT)
    prompt = random_prompt(plain)
    for start in range(0, 9 * stream.chunk, stream.chunk):
        latents = random_latents(stream.chunk, seed=start)
        for timestep in (900.0, 300.0):
            expected = twin(latents, timestep, prompt, start=start)
            got = quick(latents, timestep, prompt, cache, start=start)
            assert torch.allclose(got, expected, atol=2e-5)
        quick.remember(got, 0.0, prompt, cache, start=start)
        twin(got, 0.0, prompt, start=start)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_a_steady_pass_copies_no_cache_and_waits_for_nothing(positions: str) -> None:
    """A relative stream turns the keys of one layer at a time, which copies them: half of its memory."""
    stream, model = StreamConfig(window=48, positions=positions), tiny_transformer()
    optimize_for_inference(model)
    cache, twin = KVCache(CONFIG, stream, TOKENS_PER_LATENT), PlainPass(model, stream, TOKENS_PER_LATENT)
    prompt, latents = random_prompt(model), random_latents(3)
    for start in range(0, 51, 3):
        model(latents, 500.0, prompt, cache, start=start)
        twin(latents, 500.0, prompt, start=start)
    layer_bytes = cache.num_bytes // CONFIG.num_layers
    for run in (
        lambda: model(latents, 500.0, prompt, cache, start=51),
        lambda: model.remember(latents, 0.0, prompt, cache, start=51),
    ):
        ours = profile_run(run, CPU)
        assert ours.waits == 0
        assert ours.largest_allocation_bytes <= layer_bytes // 2
    assert (
        profile_run(lambda: twin(latents, 500.0, prompt, start=51), CPU).largest_allocation_bytes
        >= layer_bytes
    )


def test_the_instrument_sees_waits_kernels_and_allocations() -> None:
    x = torch.ones(1000)
    found = profile_run(lambda: (x + x).sum().item(), CPU)
    assert found.waits == 1
    assert found.kernels >= 3
    assert found.largest_allocation_bytes == 4000
