"""The training-time stream: the same video as for a viewer, and gradients of the exit step alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from longlive import ModelBundle, Session
from longlive.config import Positions, Prediction, StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.noise import draw_noise
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.kv_cache import KVCache
from longlive.training.objectives.options import ReleasedQuirks
from longlive.training.objectives.rollout import Rollout
from tests.support.tiny_transformer import (
    CONFIG,
    STREAMS,
    TOKENS_PER_LATENT,
    random_latents,
    tiny_transformer,
)
from tests.training.objectives.test_scores import words

CLOSE = {"atol": 2e-5, "rtol": 1e-5}
SHORT = FlowSchedule(5.0, (1000, 500))


def noise_of(chunk: int = 3, batch: int = 1) -> Callable[[int, int], Tensor]:
    return lambda start, step: random_latents(chunk, batch=batch, seed=1000 * step + start)


def new_rollout(
    stream: StreamConfig | None = None,
    *,
    clip: int = 21,
    prediction: Prediction = "velocity",
    **defects: bool,
) -> Rollout:
    model = tiny_transformer(replace(CONFIG, prediction=prediction))
    stream = stream or StreamConfig(window=9)
    return Rollout(model, SHORT, stream, TOKENS_PER_LATENT, clip=clip, defects=ReleasedQuirks(**defects))


def play(rollout: Rollout, *, switch_at: int = 12, length: int = 30, **options: Any) -> Tensor:
    """Latents of two prompts, in two calls."""
    chunk, batch = rollout.stream.chunk, options.pop("batch", 1)
    options = {"exit_step": 1} | options
    before = rollout.extend(switch_at, words(0), noise_of(chunk, batch), **options)
    rollout.switch(words(1))
    return torch.cat(
        (before, rollout.extend(length - switch_at, words(1), noise_of(chunk, batch), **options)), 1
    )


def streamed(
    stream: StreamConfig, *, switch_at: int, length: int, prediction: Prediction, batch: int
) -> Tensor:
    """The same by KVCache and denoise.py."""
    model = tiny_transformer(replace(CONFIG, prediction=prediction))
    cache = KVCache(CONFIG, stream, TOKENS_PER_LATENT, batch=batch)
    prompt, made = model.read_prompt(words(0)), random_latents(0, batch=batch)
    noise = noise_of(stream.chunk, batch)
    for start in range(0, length, stream.chunk):
        if start == switch_at:
            prompt = model.read_prompt(words(1))
            recache(model, made, prompt, cache, start=start)
        clean = denoise_chunk(
            model, lambda step, at=start: noise(at, step), prompt, cache, SHORT, start=start
        )
        remember_chunk(model, clean, prompt, cache, start=start)
        made = torch.cat((made, clean), 1)
    return made


@pytest.mark.parametrize(
    ("name", "prediction"), [*((name, "velocity") for name in STREAMS), ("window 12, sink 3", "clean")]
)
def test_a_rollout_with_gradients_equals_the_stream(name: str, prediction: Prediction) -> None:
    stream = STREAMS[name]
    switch_at, length = 5 * stream.chunk, 8 * stream.chunk
    rollout = new_rollout(stream, prediction=prediction)
    rollout.transformer.requires_grad_(True)
    made = play(rollout, switch_at=switch_at, length=length, with_grad=True, batch=2)
    assert made.requires_grad
    expected = streamed(stream, switch_at=switch_at, length=length, prediction=prediction, batch=2)
    assert torch.allclose(made, expected, **CLOSE)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
@pytest.mark.parametrize("switch_chunk", [2, 6])
def test_a_rollout_equals_a_viewers_session(
    tiny_models: ModelBundle, switch_chunk: int, positions: Positions
) -> None:
    """The same seed, prompts and switch give the same latents in training as on the page."""
    config, texts = tiny_models.config, ("a red ball", "the red ball jumps")
    session, expected = Session(tiny_models, texts[0], seed=11, positions=positions), []
    for number in range(8):
        if number == switch_chunk:
            session.set_prompt(texts[1])
        expected.append(session.next_latents().latents)

    def noise(start: int, step: int) -> Tensor:
        shape = (1, config.chunk, *config.latent_shape)
        return draw_noise(shape, seed=11, take=0, chunk=start // config.chunk, step=step)

    tokens = [tiny_models.text_encoder.encode(text).tokens for text in texts]
    timetable, stream = FlowSchedule.of(config), StreamConfig.of(config, positions=positions)
    rollout = Rollout(tiny_models.transformer, timetable, stream, config.tokens_per_latent)
    made = [rollout.extend(3 * switch_chunk, tokens[0], noise, exit_step=3)]
    rollout.switch(tokens[1])
    made.append(rollout.extend(3 * (8 - switch_chunk), tokens[1], noise, exit_step=3))
    assert torch.allclose(torch.cat(made, 1), torch.cat(expected, 1), **CLOSE)


def test_what_is_remembered_has_no_history_and_the_latents_have() -> None:
    rollout = new_rollout()
    rollout.transformer.requires_grad_(True)
    made = rollout.extend(12, words(0), noise_of(), exit_step=0, with_grad=True)
    assert made.requires_grad
    assert not any(tensor.requires_grad for layer in (0, 1) for tensor in tensors_of(rollout, layer))


def tensors_of(rollout: Rollout, layer: int) -> list[Tensor]:
    return [half for pair in rollout.remembered(layer).values() for half in pair]


def gradients(rollout: Rollout, latents: slice = slice(None), **options: Any) -> dict[str, Tensor]:
    """Of the summed squares of some latents of 30, by the name of each parameter that gets any."""
    model = rollout.transformer.requires_grad_(True)
    play(rollout, with_grad=True, **options)[:, latents].square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: grad.clone() for name, grad in found.items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    scale = max(float(grad.abs().max()) for grad in first.values())
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], atol=1e-5 * scale, rtol=0) for name in first
    )


def test_a_chunks_gradients_end_in_its_own_exit_pass() -> None:
    """With all but the last chunk made without gradients, the last chunk's are the same."""
    whole = gradients(new_rollout(), slice(27, 30))
    rollout = new_rollout()
    rollout.transformer.requires_grad_(True)
    rollout.extend(12, words(0), noise_of(), exit_step=1)
    rollout.switch(words(1))
    rollout.extend(15, words(1), noise_of(), exit_step=1)
    rollout.extend(3, words(1), noise_of(), exit_step=1, with_grad=True).square().sum().backward()
    alone = {name: p.grad for name, p in rollout.transformer.named_parameters() if p.grad is not None}
    assert same(whole, alone)


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_checkpointing_changes_no_gradient(as_released: bool, positions: Positions) -> None:
    """The backward pass runs blocks again whose latents the memory has long forgotten."""
    found = []
    for checkpointing in (False, True):
        rollout = new_rollout(StreamConfig(window=6, positions=positions), leaks_gradients=as_released)
        rollout.transformer.checkpointing = checkpointing
        found.append(gradients(rollout))
    assert same(*found)


def test_checkpointing_leaves_the_memory_as_it_was() -> None:
    rollout = new_rollout()
    rollout.transformer.checkpointing = True
    rollout.transformer.requires_grad_(True)
    made = rollout.extend(15, words(0), noise_of(), exit_step=1, with_grad=True)
    before = tensors_of(rollout, 1)
    made.sum().backward()
    after = tensors_of(rollout, 1)
    assert all(old is new for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("as_released", [False, True])
def test_later_prompts_and_noise_do_not_change_earlier_latents(as_released: bool) -> None:
    defects = vars(ReleasedQuirks.as_released()) if as_released else {}
    first = play(new_rollout(**defects))
    rollout = new_rollout(**defects)
    before = rollout.extend(12, words(0), noise_of(), exit_step=1)
    rollout.switch(words(5))
    changed = rollout.extend(
        18, words(5), lambda start, step: noise_of()(start + 500 * (start > 20), step), exit_step=1
    )
    assert torch.equal(before, first[:, :12])
    assert not torch.allclose(changed[:, :3], first[:, 12:15], atol=1e-3)


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("global_sink", [False, True])
def test_a_rollout_goes_on_from_its_state_in_another_process(global_sink: bool, as_released: bool) -> None:
    defects = vars(ReleasedQuirks.as_released()) if as_released else {}
    stream = StreamConfig(window=9, global_sink=global_sink)
    whole = new_rollout(stream, clip=9, **defects)
    whole.extend(12, words(0), noise_of(), exit_step=1)
    whole.switch(words(1))
    state = whole.state()
    expected = whole.extend(12, words(1), noise_of(), exit_step=0)
    resumed = new_rollout(stream, clip=9, **defects)
    resumed.restore(state)
    assert resumed.position == 12
    assert torch.equal(resumed.extend(12, words(1), noise_of(), exit_step=0), expected)
    resumed.switch(words(2))
    whole.switch(words(2))
    last = [found.extend(3, words(2), noise_of(), exit_step=0) for found in (whole, resumed)]
    assert torch.equal(*last)


def test_a_switch_before_the_first_latent_only_changes_the_prompt() -> None:
    plain, switched = new_rollout(), new_rollout()
    switched.switch(words(1))
    made = [found.extend(3, words(1), noise_of(), exit_step=0) for found in (plain, switched)]
    assert torch.equal(*made)


def test_impossible_calls_are_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match="exit step 2 is none of the 2 steps"):
        new_rollout().extend(3, words(), noise_of(), exit_step=2)
    with pytest.raises(ValueError, match="4 latents are no whole number of chunks of 3"):
        new_rollout().extend(4, words(), noise_of(), exit_step=0)


def test_noised_context_changes_what_is_remembered_by_half_a_percent() -> None:
    ours, released = play(new_rollout()), play(new_rollout(noises_context=True))
    assert torch.equal(ours[:, :3], released[:, :3])
    assert 1e-5 < float((ours - released)[:, 3:].abs().mean()) < 0.05


@pytest.mark.parametrize("switch_at", [12, 24])
def test_zero_sinks_come_only_without_the_global_sink_and_after_the_first_clip(switch_at: int) -> None:
    follows = StreamConfig(window=9, global_sink=False)
    kept = [new_rollout(clip=21, zeroes_sink=zeroes) for zeroes in (False, True)]
    assert torch.equal(*(play(rollout, switch_at=switch_at) for rollout in kept))
    for stream, defects in ((follows, {}), (StreamConfig(window=9), {"ignores_global_sink": True})):
        rollout = new_rollout(stream, clip=21, zeroes_sink=True, **defects)
        play(rollout, switch_at=switch_at)
        sink = [half for latent in (0, 1, 2) for half in rollout.remembered(1)[latent]]
        assert all(bool(half.any()) is (switch_at < 21) for half in sink)


def test_ignoring_the_global_sink_is_a_stream_without_it() -> None:
    ignored = play(new_rollout(ignores_global_sink=True))
    assert torch.allclose(ignored, play(new_rollout(StreamConfig(window=9, global_sink=False))), **CLOSE)
    assert not torch.allclose(ignored, play(new_rollout()), atol=1e-3)


def test_a_leak_changes_gradients_and_no_value() -> None:
    assert torch.equal(play(new_rollout()), play(new_rollout(leaks_gradients=True)))
    assert not same(gradients(new_rollout()), gradients(new_rollout(leaks_gradients=True)))


def test_a_leak_ends_where_the_memory_is_detached() -> None:
    def last_clip(**defects: bool) -> dict[str, Tensor]:
        rollout = new_rollout(**defects)
        rollout.transformer.requires_grad_(True)
        rollout.extend(12, words(0), noise_of(), exit_step=1, with_grad=True)
        rollout.detach()
        rollout.extend(3, words(0), noise_of(), exit_step=1, with_grad=True).square().sum().backward()
        return {name: p.grad for name, p in rollout.transformer.named_parameters() if p.grad is not None}

    assert same(last_clip(), last_clip(leaks_gradients=True))


TEXT_NAMES = ("condition_embedder.text_embedder", "attn2.to_k", "attn2.to_v", "attn2.norm_k")


@pytest.mark.parametrize(
    ("checkpointing", "exit_step", "reached"), [(False, 1, False), (False, 0, True), (True, 1, True)]
)
def test_the_released_text_gradients_depend_on_checkpointing_and_on_who_reads_first(
    checkpointing: bool, exit_step: int, reached: bool
) -> None:
    for defect, expected in ((False, True), (True, reached)):
        rollout = new_rollout(text_gradients_by_checkpointing=defect)
        rollout.transformer.checkpointing = checkpointing
        found = gradients(rollout, exit_step=exit_step)
        assert any(part in name for part in TEXT_NAMES for name in found) is expected
        assert any("attn1.to_k" in name for name in found)
