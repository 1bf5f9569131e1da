"""Fused, compiled and recorded transformers give what the plain one gives."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from longlive.config import ModelConfig, StreamConfig
from longlive.errors import ConfigError
from longlive.generation.sampling import recache
from longlive.models.attention import SDPA
from longlive.models.kv_cache import KVCache
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.compilation import MODES, CompileMode, optimize_for_inference, warm_up
from tests.support.tiny_transformer import (
    CONFIG,
    TEXT_LEN,
    TOKENS_PER_LATENT,
    random_latents,
    random_prompt,
    tiny_transformer,
)


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """What one test compiles is not there for the next."""
    torch._dynamo.reset()
    with torch.no_grad():
        yield
    torch._dynamo.reset()


def stream_through(model: CausalWanTransformer, positions: str, num_chunks: int = 7) -> Tensor:
    """A stream whose window fills and rolls, and whose last four chunks are then made anew."""
    cache = KVCache(CONFIG, StreamConfig(positions=positions), TOKENS_PER_LATENT)
    prompt, outputs = random_prompt(model), []
    for start in range(0, 3 * num_chunks, 3):
        outputs.append(model(random_latents(3, seed=start), 700.0, prompt, cache, start=start))
        model.remember(outputs[-1], 0.0, prompt, cache, start=start)
    model.remember(random_latents(9), 0.0, random_prompt(model, seed=1), cache, start=3 * num_chunks - 9)
    outputs.append(model(random_latents(3), 300.0, prompt, cache, start=3 * num_chunks))
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "aot"])
def test_every_mode_gives_what_the_plain_transformer_gives(mode: CompileMode, positions: str) -> None:
    """The graph is traced as for a GPU, so rotations take the real path here too; test_aot.py has ``aot``."""
    quick = tiny_transformer()
    optimize_for_inference(quick, compile_mode=mode, compiler="eager")
    expected = stream_through(tiny_transformer(), positions)
    assert torch.allclose(stream_through(quick, positions), expected, atol=2e-5)


def test_one_compiled_block_serves_all_layers_all_lengths_and_the_steady_state() -> None:
    """Two parts of a block, each for chunks and for the nine latents of a recache."""
    counter, model = CompileCounter(), tiny_transformer()
    optimize_for_inference(model, compile_mode="default", compiler=counter)
    stream_through(model, "relative", num_chunks=5)
    assert counter.frame_count == 4
    stream_through(model, "relative", num_chunks=9)
    assert counter.frame_count == 4


@pytest.mark.parametrize("global_sink", [True, False])
def test_after_warming_up_nothing_is_compiled_any_more(global_sink: bool) -> None:
    """Neither while the window fills, nor in the steady state, nor at a switch at any time."""
    counter, model, prompts = CompileCounter(), tiny_transformer(), []
    optimize_for_inference(model, compile_mode="default", compiler=counter)
    stream = StreamConfig(global_sink=global_sink)
    facts = ModelConfig(name="tiny", transformer=CONFIG, height=32, width=48, text_len=TEXT_LEN)
    words = list(warm_up(model, facts, stream))
    assert words[-1] == "warming up: pass 5 of 5"
    known, cache = counter.frame_count, KVCache(CONFIG, stream, TOKENS_PER_LATENT)
    for start in range(0, 18, 3):
        prompts.append(random_prompt(model, seed=start))
        model(random_latents(3), 500.0, prompts[-1], cache, start=start)
        model.remember(random_latents(3), 0.0, prompts[-1], cache, start=start)
        recache(model, random_latents(12), prompts[-1], cache, start=start + 3)
    assert counter.frame_count == known > 0


def test_fusing_keeps_names_values_and_memory() -> None:
    plain, fused = tiny_transformer(), tiny_transformer()
    optimize_for_inference(fused)
    expected = plain.state_dict()
    assert fused.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in fused.state_dict().items())
    attention = fused.blocks[0].attn1
    assert (
        attention.to_q.weight.untyped_storage().data_ptr()
        == attention.to_v.weight.untyped_storage().data_ptr()
    )


def test_fused_weights_are_used_and_follow_what_is_loaded() -> None:
    model, x = tiny_transformer(), torch.randn(1, 5, CONFIG.dim)
    attention = model.blocks[0].attn1
    expected = attention.queries_keys_values(x)
    optimize_for_inference(model)
    attention.to_q, attention.to_k = attention.to_k, attention.to_q
    assert all(map(torch.allclose, attention.queries_keys_values(x), expected)), (
        "one product, not three layers"
    )
    attention.to_q, attention.to_k = attention.to_k, attention.to_q
    model.load_state_dict({name: tensor * 2 for name, tensor in model.state_dict().items()})
    assert torch.allclose(attention.queries_keys_values(x)[2], 2 * expected[2], atol=1e-5)


def test_casting_a_fused_transformer_parts_the_weights_again() -> None:
    model = tiny_transformer()
    optimize_for_inference(model)
    rough = model.to(torch.float64)
    assert (
        rough.blocks[0].attn1.queries_keys_values(torch.randn(1, 5, CONFIG.dim).double())[0].dtype
        == torch.float64
    )


def test_the_attention_is_chosen_and_named() -> None:
    model = tiny_transformer()
    optimize_for_inference(model, attention="sdpa")
    assert model.backend is SDPA
    with pytest.raises(ConfigError, match="flash3"):
        optimize_for_inference(model, attention="flash3")


def test_an_unknown_mode_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"compile.*graphs"):
        optimize_for_inference(tiny_transformer(), compile_mode="fast")  # type: ignore[arg-type]
