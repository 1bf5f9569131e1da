"""The few-step loop, the clean pass and the recache, on the ring and on its plain twin."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.kv_cache import Cache, KVCache
from longlive.models.list_cache import ListCache
from tests.support.tiny_transformer import (
    CONFIG,
    STREAMS,
    TOKENS_PER_LATENT,
    random_latents,
    random_prompt,
    tiny_transformer,
)

CLOSE = {"atol": 2e-5, "rtol": 1e-5}
FOUR_STEPS = FlowSchedule(5.0, (1000, 750, 500, 250))
TWO_STEPS = FlowSchedule(5.0, (1000, 500))


def noise_for(start: int, num_latents: int, batch: int = 1) -> Callable[[int], Tensor]:
    return lambda step: random_latents(num_latents, batch=batch, seed=1000 * step + start)


def rollout(
    stream: StreamConfig,
    cache_type: type[KVCache | ListCache],
    *,
    batch: int = 1,
    num_chunks: int = 8,
    switches: tuple[int, ...] = (),
    timetable: FlowSchedule = FOUR_STEPS,
) -> tuple[Tensor, Cache]:
    """Latents of a stream whose prompt is switched softly before the chunks of these numbers."""
    model = tiny_transformer()
    cache = cache_type(CONFIG, stream, TOKENS_PER_LATENT, batch=batch)
    prompt, made = random_prompt(model, batch=batch), random_latents(0, batch=batch)
    for number in range(num_chunks):
        start = number * stream.chunk
        if number in switches:
            prompt = random_prompt(model, batch=batch, seed=number)
            recache(model, made, prompt, cache, start=start)
        noise = noise_for(start, stream.chunk, batch)
        clean = denoise_chunk(model, noise, prompt, cache, timetable, start=start)
        remember_chunk(model, clean, prompt, cache, start=start)
        made = torch.cat((made, clean), 1)
    return made, cache


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("switches", [(), (2, 5, 6)], ids=["one prompt", "three switches"])
@pytest.mark.parametrize("name", STREAMS)
def test_the_ring_and_its_plain_twin_make_the_same_video(
    name: str, switches: tuple[int, ...], batch: int
) -> None:
    """Switches come before the window has rolled, and twice in a row after it."""
    ring, twin = (
        rollout(STREAMS[name], kind, batch=batch, switches=switches, timetable=TWO_STEPS)[0]
        for kind in (KVCache, ListCache)
    )
    assert torch.allclose(ring, twin, **CLOSE)


def test_noise_is_asked_for_once_per_step_and_mixed_in_at_its_level() -> None:
    """x at step s + 1 is (1 - sigma) * clean + sigma * fresh noise: no ODE step, no reuse of old noise."""
    model, asked, clean_of, seen = tiny_transformer(), [], {}, []
    forward = model.forward

    def spy(latents: Tensor, timestep: float, *arguments: object, **options: object) -> Tensor:
        seen.append((latents, timestep))
        return forward(latents, timestep, *arguments, **options)

    model.forward = spy
    cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT)

    def noise(step: int) -> Tensor:
        asked.append(step)
        return random_latents(3, seed=step)

    last = denoise_chunk(
        model, noise, random_prompt(model), cache, FOUR_STEPS, start=0, on_step=clean_of.__setitem__
    )
    assert asked == [0, 1, 2, 3]
    assert [timestep for _, timestep in seen] == list(FOUR_STEPS.warped_steps)
    assert torch.equal(seen[0][0], random_latents(3, seed=0))
    for step in (1, 2, 3):
        sigma = FOUR_STEPS.warped_steps[step] / 1000
        expected = (1 - sigma) * clean_of[step - 1] + sigma * random_latents(3, seed=step)
        assert torch.allclose(seen[step][0], expected, atol=1e-6)
    assert torch.equal(last, clean_of[3])


def test_a_velocity_becomes_clean_latents_and_a_clean_prediction_stays() -> None:
    for prediction in ("velocity", "clean"):
        model = tiny_transformer(replace(CONFIG, prediction=prediction))
        prompt, noise = random_prompt(model), noise_for(0, 3)
        cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT)
        clean = denoise_chunk(model, noise, prompt, cache, FOUR_STEPS, start=0, exit_step=0)
        output = model(noise(0), 1000.0, prompt, KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT))
        assert torch.allclose(clean, noise(0) - output if prediction == "velocity" else output, atol=1e-6)


@pytest.mark.parametrize("exit_step", [0, 1, 2, 3])
def test_leaving_early_gives_the_clean_latents_of_that_step(exit_step: int) -> None:
    model, steps = tiny_transformer(), {}
    prompt, noise = random_prompt(model), noise_for(0, 3)
    whole, short = (KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT) for _ in range(2))
    denoise_chunk(model, noise, prompt, whole, FOUR_STEPS, start=0, on_step=steps.__setitem__)
    early = denoise_chunk(model, noise, prompt, short, FOUR_STEPS, start=0, exit_step=exit_step)
    assert torch.equal(early, steps[exit_step])


def test_a_training_rollout_equals_the_stream_and_has_gradients_of_the_exit_step_alone() -> None:
    model = tiny_transformer()
    streamed, _ = rollout(StreamConfig(window=6), KVCache, num_chunks=4)
    model.requires_grad_(True)
    prompt = random_prompt(model)
    cache = ListCache(CONFIG, StreamConfig(window=6), TOKENS_PER_LATENT)
    for start in range(0, 12, 3):
        clean = denoise_chunk(
            model, noise_for(start, 3), prompt, cache, FOUR_STEPS, start=start, with_grad=True
        )
        assert clean.requires_grad
        remember_chunk(model, clean, prompt, cache, start=start)
        assert not any(k.requires_grad or v.requires_grad for k, v in cache.contents(1).values())
        assert torch.allclose(clean, streamed[:, start : start + 3], **CLOSE)
    clean.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("with_grad", [False, True])
def test_what_is_remembered_carries_gradients_only_if_asked(with_grad: bool) -> None:
    model = tiny_transformer().requires_grad_(True)
    prompt, latents = random_prompt(model), random_latents(6)
    for start in (3, 6):
        cache = ListCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT)
        remember_chunk(model, latents[:, :3], prompt, cache, start=0, with_grad=with_grad)
        if start == 6:
            remember_chunk(model, latents[:, 3:], prompt, cache, start=3)
            recache(model, latents, prompt, cache, start=6, with_grad=with_grad)
        tensors = [half for layer in (0, 1) for pair in cache.contents(layer).values() for half in pair]
        assert {tensor.requires_grad for tensor in tensors} == {with_grad}


def test_a_rollout_without_gradients_builds_no_graph() -> None:
    model = tiny_transformer().requires_grad_(True)
    with torch.no_grad():
        prompt = random_prompt(model)
    cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT)
    assert not denoise_chunk(model, noise_for(0, 3), prompt, cache, FOUR_STEPS, start=0).requires_grad


def test_the_clean_pass_is_labelled_by_the_stream_unless_told_otherwise() -> None:
    model = tiny_transformer()
    prompt, latents = random_prompt(model), random_latents(3)

    def keys(stream: StreamConfig, **options: float) -> Tensor:
        cache = KVCache(CONFIG, stream, TOKENS_PER_LATENT)
        remember_chunk(model, latents, prompt, cache, start=0, **options)
        return cache.contents(1)[0][0]

    expected = keys(StreamConfig(), context_noise=40.0)
    assert torch.equal(keys(StreamConfig(context_noise=40.0)), expected)
    assert not torch.allclose(keys(StreamConfig()), expected, atol=1e-3)


def after_a_recache(stream: StreamConfig, num_chunks: int, made: Tensor | None = None) -> tuple[Cache, Cache]:
    """The caches of a stream before and after a soft switch; ``made`` replaces the latents it made."""
    start = num_chunks * stream.chunk
    latents, before = rollout(stream, ListCache, num_chunks=num_chunks)
    _, cache = rollout(stream, KVCache, num_chunks=num_chunks)
    model = tiny_transformer()
    window = latents if made is None else made
    recache(model, window, random_prompt(model, seed=9), cache, start=start)
    return before, cache


def changed_latents(before: Cache, after: Cache) -> list[int]:
    """The latents whose keys in the last layer differ; the first layer's do not depend on the prompt."""
    return [
        latent
        for latent, (keys, _) in after.contents(1).items()
        if latent not in before.contents(1)
        or not torch.allclose(before.contents(1)[latent][0], keys, atol=1e-4)
    ]


@pytest.mark.parametrize(
    ("global_sink", "num_chunks", "rewritten", "visible"),
    [
        (True, 2, range(6), range(6)),
        (True, 3, range(9), range(9)),
        (True, 5, range(9, 15), [0, 1, 2, *range(9, 15)]),
        (False, 3, range(9), range(9)),
        (False, 5, range(6, 15), range(6, 15)),
    ],
    ids=["filling", "just full", "rolled", "full, sink follows", "rolled, sink follows"],
)
def test_a_recache_rewrites_what_the_released_code_rewrites(
    global_sink: bool, num_chunks: int, rewritten: range, visible: range
) -> None:
    """The sink keeps the old prompt only once the window has rolled, and only if it is global."""
    stream = StreamConfig(window=9, global_sink=global_sink)
    before, after = after_a_recache(stream, num_chunks)
    assert sorted(after.contents(1)) == list(visible)
    assert sorted(changed_latents(before, after)) == list(rewritten)


def test_a_sink_that_followed_a_switch_stays_the_sink() -> None:
    stream = StreamConfig(window=9, global_sink=False)
    _, cache = rollout(stream, KVCache, num_chunks=9, switches=(5,))
    assert sorted(cache.contents(0)) == [6, 7, 8, *range(21, 27)]


@pytest.mark.parametrize("num_chunks", [2, 5])
def test_a_recache_lets_the_window_see_itself_both_ways(num_chunks: int) -> None:
    """Surprising, but the released model was tuned so: its last latent changes its first one's keys."""
    stream = StreamConfig(window=9)
    latents, _ = rollout(stream, KVCache, num_chunks=num_chunks)
    other = latents.clone()
    other[:, -1] += 1
    _, plain = after_a_recache(stream, num_chunks)
    _, moved = after_a_recache(stream, num_chunks, made=other)
    oldest = 0 if num_chunks == 2 else 9
    assert (plain.contents(1)[oldest][0] - moved.contents(1)[oldest][0]).abs().max() > 1e-3


def test_only_what_the_cache_remembers_is_recached() -> None:
    """A longer history, or other latents before the window, must not matter."""
    latents, _ = rollout(StreamConfig(window=9), KVCache, num_chunks=5)
    other = latents.clone()
    other[:, :9] += 1
    _, plain = after_a_recache(StreamConfig(window=9), 5)
    _, changed = after_a_recache(StreamConfig(window=9), 5, made=other)
    assert changed_latents(plain, changed) == []


def test_a_window_with_too_few_latents_is_refused_and_harms_nothing() -> None:
    model = tiny_transformer()
    made, cache = rollout(StreamConfig(window=9), KVCache, num_chunks=3)
    with pytest.raises(ValueError, match="holds 8 latents, but the cache remembers 9"):
        recache(model, made[:, 1:], random_prompt(model), cache, start=9)
    assert cache.num_remembered == 9


def test_a_recache_before_the_first_chunk_does_nothing() -> None:
    model = tiny_transformer()
    cache = KVCache(CONFIG, StreamConfig(), TOKENS_PER_LATENT)
    recache(model, random_latents(0), random_prompt(model), cache, start=0)
    assert cache.num_remembered == 0
