"""The fused kernels give what the plain steps give: on a GPU if there is one, else in the interpreter."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.models.attention import PromptKV
from longlive.models.kv_cache import KVCache
from longlive.models.rope import Rope, rotate
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.quantization import quantize_fp8
from tests.support.tiny_transformer import (
    CONFIG,
    STREAMS,
    TOKENS_PER_LATENT,
    random_latents,
    random_prompt,
    tiny_transformer,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytest.importorskip(
    "triton", reason="Triton is not installed: no kernel of ours can be run, not even interpreted"
)

from longlive.runtime.fp8 import Fp8Linear  # noqa: E402
from longlive.runtime.fused_blocks import FusedBlocks  # noqa: E402
from longlive.runtime.triton_kernels import add_norm, norm_and_turn, round_rows  # noqa: E402

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
# The interpreter rounds to 8 bits more roughly than a GPU does.
ROUNDING = 0.03 if DEVICE == "cuda" else 0.13
dtypes = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype)


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@dtypes
@pytest.mark.parametrize("is_gated", [True, False])
@pytest.mark.parametrize("plus_one", [True, False])
def test_a_sum_and_its_norm(dtype: torch.dtype, is_gated: bool, plus_one: bool) -> None:
    (x, added), (gate, multiplier, shift) = random(2, 24, 36, dtype=dtype), random(3, 36, dtype=dtype)
    gates = {"gate": gate} if is_gated else {}
    total, normed = add_norm(x, multiplier, shift, 1e-6, added=added, plus_one=plus_one, **gates)
    exact = x.double() + added.double() * (gate.double() if is_gated else 1)
    expected = F.layer_norm(exact, (36,), eps=1e-6) * (multiplier.double() + plus_one) + shift.double()
    assert distance(total, exact) < TOLERANCES[dtype]
    assert distance(normed, expected) < TOLERANCES[dtype]
    same, alone = add_norm(x, multiplier, shift, 1e-6)
    assert same is x
    expected = F.layer_norm(x.double(), (36,), eps=1e-6) * (multiplier.double() + 1) + shift.double()
    assert distance(alone, expected) < TOLERANCES[dtype]


@dtypes
def test_queries_are_normed_and_turned_from_and_to_any_rows(dtype: torch.dtype) -> None:
    rotation = Rope(12, 64).to(DEVICE).rotation((5, 6, 9, 2), 2, 3)
    products, weight = random(24, 3, 3, 12, dtype=dtype), random(36, dtype=dtype)
    slots = torch.full((40, 3, 12), float("nan"), dtype=dtype, device=DEVICE)
    norm_and_turn(products[:, 1], slots[8:32], weight=weight, rotation=rotation, eps=1e-6)
    normed = F.rms_norm(products[:, 1].flatten(1).double(), (36,), eps=1e-6) * weight.double()
    expected = rotate(normed.view(1, 24, 3, 12).float(), rotation)[0]
    assert distance(slots[8:32], expected) < TOLERANCES[dtype]
    assert slots[:8].isnan().all() and slots[32:].isnan().all()
    norm_and_turn(products[:, 2], slots[8:32])
    assert torch.equal(slots[8:32], products[:, 2])


@dtypes
@pytest.mark.parametrize("size", [128, 140, 36])
def test_rows_are_rounded_with_a_scale_each(dtype: torch.dtype, size: int) -> None:
    x = random(6, size, dtype=dtype) * torch.logspace(-4, 4, 6, device=DEVICE).unsqueeze(1).to(dtype)
    for gelu, exact in ((False, x.float()), (True, F.gelu(x.float(), approximate="tanh"))):
        rows = round_rows(x, gelu=gelu)
        for row in range(6):
            assert distance(rows.values[row].float() * rows.scales[row], exact[row]) < ROUNDING


def pair(dtype: torch.dtype) -> tuple[CausalWanTransformer, CausalWanTransformer]:
    plain, fused = (tiny_transformer().to(DEVICE, dtype) for _ in range(2))
    fused.fused = FusedBlocks(fused)
    return plain, fused


def prompt_of(dtype: torch.dtype, config: TransformerConfig = CONFIG) -> PromptKV:
    made = random_prompt(tiny_transformer(config))
    keys, values = ([x.to(DEVICE, dtype) for x in part] for part in (made.keys, made.values))
    return PromptKV(keys, values)


@pytest.mark.parametrize("dtype", [*TOLERANCES] if DEVICE == "cuda" else [torch.float32], ids=str)
@pytest.mark.parametrize("name", ["window 12, sink 3", "relative", "chunk 2, odd window"])
def test_a_fused_stream_equals_one_that_is_not(name: str, dtype: torch.dtype) -> None:
    stream, (plain, fused) = STREAMS[name], pair(dtype)
    caches = [KVCache(CONFIG, stream, TOKENS_PER_LATENT, device=DEVICE, dtype=dtype) for _ in range(2)]
    prompt = prompt_of(dtype)
    for start in range(0, 6 * stream.chunk, stream.chunk):
        latents = random_latents(stream.chunk, seed=start).to(DEVICE, dtype)
        expected = plain(latents, 900.0, prompt, caches[0], start=start)
        found = fused(latents, 900.0, prompt, caches[1], start=start)
        assert distance(found, expected) < 3 * TOLERANCES[dtype]
        for model, cache in zip((plain, fused), caches, strict=True):
            model.remember(latents, 0.0, prompt, cache, start=start)
        for layer in range(CONFIG.num_layers):
            for latent, kept in caches[0].contents(layer).items():
                for one, other in zip(caches[1].contents(layer)[latent], kept, strict=True):
                    assert distance(one, other) < 3 * TOLERANCES[dtype]


def test_the_cache_may_keep_keys_and_values_in_eight_bits() -> None:
    plain, fused = pair(torch.float32)
    prompt, outputs = prompt_of(torch.float32), []
    for model in (plain, fused):
        place = {"device": DEVICE, "storage": torch.float8_e4m3fn}
        cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT, **place)
        model.remember(random_latents(3).to(DEVICE), 0.0, prompt, cache)
        outputs.append(model(random_latents(3, seed=1).to(DEVICE), 500.0, prompt, cache, start=3))
    assert distance(outputs[1], outputs[0]) < ROUNDING


def test_products_in_eight_bits_are_the_plain_ones_within_rounding() -> None:
    dtype = torch.bfloat16 if DEVICE == "cuda" else torch.float32
    config = dataclasses.replace(CONFIG, attention_head_dim=16, ffn_dim=64)  # a GPU wants multiples of 16
    plain, fused = (tiny_transformer(config).to(DEVICE, dtype) for _ in range(2))
    quantize_fp8(fused)
    assert FusedBlocks.can_run(fused)
    fused.fused = FusedBlocks(fused)
    prompt, outputs = prompt_of(dtype, config), []
    for model in (plain, fused):
        cache = KVCache(config, StreamConfig(), TOKENS_PER_LATENT, device=DEVICE, dtype=dtype)
        model.remember(random_latents(3).to(DEVICE, dtype), 0.0, prompt, cache)
        outputs.append(model(random_latents(3, seed=1).to(DEVICE, dtype), 500.0, prompt, cache, start=3))
    assert 1e-4 < distance(outputs[1], outputs[0]) < 2 * ROUNDING
    assert isinstance(fused.blocks[0].attn1.to_q, Fp8Linear)


def test_other_calls_run_block_by_block() -> None:
    """Batches, clips without a cache, latents of different timesteps, and training."""
    plain, fused = pair(torch.float32)
    latents, prompt = random_latents(3, batch=2).to(DEVICE), prompt_of(torch.float32)
    assert torch.equal(fused(latents, 500.0, prompt), plain(latents, 500.0, prompt))
    times = torch.tensor([[900.0, 500.0, 100.0]], device=DEVICE)
    caches = [KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT, device=DEVICE) for _ in range(2)]
    found = fused(latents[:1], times, prompt, caches[0])
    assert torch.equal(found, plain(latents[:1], times, prompt, caches[1]))
