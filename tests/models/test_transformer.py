"""The transformer against diffusers', its cache against masks and plain twins, and its gradients."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.models import attention, transformer
from longlive.models.attention import Backend, PromptMemory
from longlive.models.kv_cache import KVCache
from longlive.models.list_cache import ListCache
from longlive.models.transformer import SINUSOID_BASE, CausalWanTransformer, sinusoid
from tests.support.tiny_transformer import (
    CONFIG,
    STREAMS,
    TEXT_DIM,
    TEXT_LEN,
    TOKENS_PER_LATENT,
    random_latents,
    random_prompt,
    tiny_transformer,
)

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def diffusers_twin(model: CausalWanTransformer) -> torch.nn.Module:
    from diffusers import WanTransformer3DModel

    config = model.config
    twin = WanTransformer3DModel(
        patch_size=config.patch_size,
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
        cross_attn_norm=config.cross_attn_norm,
        eps=config.eps,
        rope_max_seq_len=config.rope_max_seq_len,
    )
    twin.load_state_dict(model.state_dict())
    return twin.requires_grad_(False)


@pytest.mark.parametrize("cross_attn_norm", [True, False])
def test_without_a_cache_it_equals_diffusers_transformer(cross_attn_norm: bool) -> None:
    """Same names (the load is strict), same arithmetic; only diffusers' sinusoid is float32."""
    model = tiny_transformer(replace(CONFIG, cross_attn_norm=cross_attn_norm))
    latents, tokens = random_latents(5, batch=2), torch.randn(2, TEXT_LEN, TEXT_DIM)
    timestep = torch.tensor([700.0, 31.0])
    expected = diffusers_twin(model)(latents.transpose(1, 2), timestep, tokens).sample.transpose(1, 2)
    got = model(latents, timestep.unsqueeze(1), model.read_prompt(tokens))
    assert torch.allclose(got, expected, atol=1e-4)


def test_constants_are_the_released_ones() -> None:
    """Too small to show in the goldens: eps 1e-5 changes latents by less than their tolerance."""
    model = tiny_transformer()
    assert (CONFIG.eps, SINUSOID_BASE) == (1e-6, 10000.0)
    assert {block.norm2.eps for block in model.blocks} == {1e-6}
    assert {block.eps for block in model.blocks} == {1e-6}
    assert {norm.eps for norm in model.modules() if isinstance(norm, attention.RmsNorm)} == {1e-6}


def test_sinusoid_has_cosines_first_and_is_float64() -> None:
    waves = sinusoid(torch.tensor([937.5]), 8)
    angles = 937.5 * 10000.0 ** -(torch.arange(4).double() / 4)
    assert waves.dtype == torch.float64
    assert torch.allclose(waves[0], torch.cat((angles.cos(), angles.sin())), atol=1e-12)


def test_the_patch_product_equals_the_convolution() -> None:
    model, latents = tiny_transformer(), random_latents(3, batch=2)
    expected = model.patch_embedding(latents.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)
    assert torch.allclose(model._patchify(latents), expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", STREAMS)
def test_the_ring_and_its_plain_twin_give_the_same_predictions(name: str, batch: int) -> None:
    model, stream = tiny_transformer(), STREAMS[name]
    prompt = random_prompt(model, batch=batch)
    caches = [kind(CONFIG, stream, TOKENS_PER_LATENT, batch=batch) for kind in (KVCache, ListCache)]
    for start in range(0, 7 * stream.chunk, stream.chunk):
        for timestep in (800.0, 0.0):
            latents = random_latents(stream.chunk, batch=batch, seed=start)
            ring, twin = (model(latents, timestep, prompt, cache, start=start) for cache in caches)
            assert torch.allclose(ring, twin, **CLOSE)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_cached_chunks_equal_one_pass_with_a_block_causal_mask(positions: str) -> None:
    """The twin that forgets nothing: without a cache, each chunk sees itself and all before it."""
    model, latents = tiny_transformer(), random_latents(9, batch=2)
    prompt = random_prompt(model, batch=2)
    stream = StreamConfig(window=-1, positions=positions)
    cache = KVCache(CONFIG, stream, TOKENS_PER_LATENT, batch=2)
    chunks = [model(latents[:, s : s + 3], 500.0, prompt, cache, start=s) for s in (0, 3, 6)]

    chunk_of = torch.arange(9 * TOKENS_PER_LATENT) // (3 * TOKENS_PER_LATENT)
    mask = chunk_of[:, None] >= chunk_of

    def masked(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if keys.shape[1] != len(mask):
            return attention.attend(queries, keys, values)
        q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).flatten(2)

    model.backend = Backend("masked", masked)
    assert torch.allclose(torch.cat(chunks, 1), model(latents, 500.0, prompt), **CLOSE)


def test_a_window_that_rolled_still_depends_on_sink_and_recent_chunks_alone() -> None:
    """Keys outside sink and window must have no influence, those inside must have some."""
    model, stream = tiny_transformer(), StreamConfig(window=9)
    prompt = random_prompt(model)

    def last_chunk(changed: int | None) -> Tensor:
        cache = KVCache(CONFIG, stream, TOKENS_PER_LATENT)
        for start in range(0, 15, 3):
            cache_latents = random_latents(3, seed=start)
            slots = cache.place(start, 3)
            for layer in range(CONFIG.num_layers):
                keys, values = (torch.randn(1, 18, 2, 12, generator=rng(start, layer, i)) for i in (0, 1))
                if start == changed:
                    keys, values = keys + 1, values + 1
                cache.extend(layer, slots, keys, values)
        return model(cache_latents, 500.0, prompt, cache, start=15)

    def rng(*numbers: int) -> torch.Generator:
        return torch.Generator().manual_seed(sum(n * 100**i for i, n in enumerate(numbers)))

    reference = last_chunk(None)
    assert all(torch.equal(last_chunk(start), reference) for start in (3, 6, 9))
    assert all((last_chunk(start) - reference).abs().max() > 1e-3 for start in (0, 12))


@pytest.mark.parametrize("cache_type", [KVCache, ListCache])
@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_remember_leaves_what_forward_leaves(cache_type: type[KVCache | ListCache], positions: str) -> None:
    model, stream = tiny_transformer(), StreamConfig(positions=positions)
    prompt = random_prompt(model)
    whole, short = (cache_type(CONFIG, stream, TOKENS_PER_LATENT) for _ in range(2))
    for start in (0, 3):
        model(random_latents(3, seed=start), 0.0, prompt, whole, start=start)
        model.remember(random_latents(3, seed=start), 0.0, prompt, short, start=start)
    for layer in range(CONFIG.num_layers):
        assert whole.contents(layer).keys() == short.contents(layer).keys() == set(range(6))
        for latent, expected in whole.contents(layer).items():
            for mine, theirs in zip(short.contents(layer)[latent], expected, strict=True):
                assert torch.equal(mine, theirs)


def test_one_timestep_equals_the_same_timestep_for_each_latent() -> None:
    model, latents = tiny_transformer(), random_latents(3, batch=2)
    prompt = random_prompt(model)
    expected = model(latents, 625.0, prompt)
    for shape in ((), (1, 1), (2, 1), (1, 3), (2, 3)):
        assert torch.allclose(model(latents, torch.full(shape, 625.0), prompt), expected, **CLOSE)


def test_each_latent_is_modulated_by_its_own_timestep(monkeypatch: pytest.MonkeyPatch) -> None:
    """With attention silenced, a latent's prediction depends on its own timestep alone."""
    model, latents = tiny_transformer(), random_latents(2)
    prompt = random_prompt(model)

    def silent(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return torch.zeros_like(queries).flatten(2)

    monkeypatch.setattr(transformer, "attend", silent)
    model.backend = Backend("silent", silent)
    mixed = model(latents, torch.tensor([[900.0, 100.0]]), prompt)
    assert torch.allclose(mixed[:, :1], model(latents[:, :1], 900.0, prompt), **CLOSE)
    assert torch.allclose(mixed[:, 1:], model(latents[:, 1:], 100.0, prompt), **CLOSE)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_streams_of_a_batch_do_not_see_each_other(positions: str) -> None:
    model, stream = tiny_transformer(), StreamConfig(window=6, positions=positions)
    prompt = random_prompt(model, batch=2)
    cache = KVCache(CONFIG, stream, TOKENS_PER_LATENT, batch=2)
    alone = KVCache(CONFIG, stream, TOKENS_PER_LATENT)
    second = PromptMemory([k[1:] for k in prompt.keys], [v[1:] for v in prompt.values])
    for start in (0, 3, 6):
        latents = random_latents(3, batch=2, seed=start)
        both = model(latents, 500.0, prompt, cache, start=start)
        assert torch.allclose(both[1:], model(latents[1:], 500.0, second, alone, start=start), **CLOSE)


def test_gradients_flow_through_remembered_latents_and_through_the_prompt() -> None:
    """As if all had been computed in one pass with a block-causal mask: checked by finite differences."""
    model = tiny_transformer().double()
    tokens = torch.randn(1, TEXT_LEN, TEXT_DIM).double().requires_grad_()
    first = random_latents(2).double().requires_grad_()

    def loss(first: Tensor, tokens: Tensor) -> Tensor:
        cache = ListCache(
            CONFIG, StreamConfig(chunk=2, window=6, sink=2, positions="relative"), TOKENS_PER_LATENT
        )
        prompt = model.read_prompt(tokens)
        model(first, torch.tensor([[300.0, 500.0]]), prompt, cache)
        return model(random_latents(2, seed=1).double(), 500.0, prompt, cache, start=2).square().mean()

    loss(first, tokens).backward()
    for tensor in (first, tokens):
        step = torch.randn_like(tensor)
        others = [first.detach(), tokens.detach()]
        index = 0 if tensor is first else 1
        up, down = (
            loss(*(x + sign * 1e-4 * step if i == index else x for i, x in enumerate(others)))
            for sign in (1, -1)
        )
        slope = (up - down) / 2e-4
        assert slope.abs() > 1e-4
        assert torch.allclose((tensor.grad * step).sum(), slope, rtol=1e-2)


def test_training_under_autocast_stays_near_float32() -> None:
    model, prompt_tokens = tiny_transformer().requires_grad_(True), torch.randn(2, TEXT_LEN, TEXT_DIM)
    latents = [random_latents(3, batch=2, seed=start) for start in (0, 3, 6)]

    def predict() -> Tensor:
        cache = ListCache(CONFIG, StreamConfig(window=6), TOKENS_PER_LATENT)
        prompt = model.read_prompt(prompt_tokens)
        outputs = [
            model(
                x,
                torch.rand(2, 3, generator=torch.Generator().manual_seed(i)) * 1000,
                prompt,
                cache,
                start=3 * i,
            )
            for i, x in enumerate(latents)
        ]
        return torch.cat(outputs, 1).float()

    exact = predict()
    with torch.autocast("cpu", torch.bfloat16):
        rough = predict()
    rough.square().mean().backward()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_bfloat16_model_runs_and_stays_near_float32() -> None:
    model, rough = tiny_transformer(), tiny_transformer().bfloat16()
    tokens, latents = torch.randn(1, TEXT_LEN, TEXT_DIM), random_latents(3)
    cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT, dtype=torch.bfloat16)
    got = rough(latents.bfloat16(), 625.0, rough.read_prompt(tokens.bfloat16()), cache)
    assert got.dtype == torch.bfloat16
    expected = model(latents, 625.0, model.read_prompt(tokens))
    assert (got.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_prompt_of_another_precision_is_read_in_the_transformer_s_own() -> None:
    model, tokens = tiny_transformer(), torch.randn(1, TEXT_LEN, TEXT_DIM).half()
    got, expected = model.read_prompt(tokens), model.read_prompt(tokens.float())
    assert all(map(torch.equal, got.keys, expected.keys))


def test_a_call_changes_no_attribute_and_no_weight() -> None:
    model = tiny_transformer()
    before = {name: tensor.clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT)
    model(random_latents(3), 500.0, random_prompt(model), cache)
    after = dict((*model.named_parameters(), *model.named_buffers()))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert attributes == {name: set(vars(module)) for name, module in model.named_modules()}


@pytest.mark.parametrize("shape", [(1, 3, 5, 4, 6), (3, 4, 4, 6)])
def test_latents_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    model = tiny_transformer()
    with pytest.raises(ValueError, match=r"latents have shape .* but \(B, F, 4, H, W\) is expected"):
        model(torch.zeros(shape), 500.0, random_prompt(model))


def test_checkpointing_keeps_less_and_changes_neither_output_nor_gradients() -> None:
    found, kept = [], []
    for checkpointing in (False, True):
        model = tiny_transformer().requires_grad_(True)
        model.checkpointing = checkpointing
        prompt, sizes = random_prompt(model), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, s=sizes: (s.append(x.numel()), x)[1], lambda x: x
        ):
            output = model(random_latents(6), 500.0, prompt)
        output.square().mean().backward()
        found.append([output.detach(), *(parameter.grad for parameter in model.parameters())])
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]
    assert all(torch.allclose(plain, again, atol=1e-6) for plain, again in zip(*found, strict=True))
