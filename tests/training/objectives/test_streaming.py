"""A sequence: its schedule, its switch, the overlap of its clips and its memory."""

import gc
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.models.decoder import StreamingDecoder
from longlive.models.wan_vae import encode_pictures
from longlive.training.objectives.options import StreamingOptions
from longlive.training.objectives.quirks import ReleasedQuirks
from longlive.training.objectives.rollout import Rollout
from longlive.training.objectives.streaming import Clip, Sequence, image_latent_of
from tests.support.tiny_model import tiny_vae
from tests.support.tiny_scores import SHORT, noise_of, texts
from tests.support.tiny_transformer import CONFIG, TOKENS_PER_LATENT, random_latents, tiny_transformer

NINE = StreamingOptions(clip=9, new_latents=6, max_latents=33)


def new_sequence(
    options: StreamingOptions = NINE,
    *,
    num_layers: int = 1,
    switch_start: int | None = None,
    encode_last: object = None,
    **quirks: bool,
) -> Sequence:
    model = tiny_transformer(replace(CONFIG, num_layers=num_layers)).requires_grad_(True)
    stream = StreamConfig(window=9, positions="relative")
    rollout = Rollout(
        model, SHORT, stream, TOKENS_PER_LATENT, clip=options.clip, quirks=ReleasedQuirks(**quirks)
    )
    second = None if switch_start is None else texts(1)
    return Sequence(
        rollout, options, texts(0), switch_text=second, switch_start=switch_start, encode_last=encode_last
    )


def clips_of(sequence: Sequence, **options: object) -> list[Clip]:
    clips = []
    while not sequence.is_over:
        clips.append(sequence.next_clip(noise_of(), **({"exit_step": 0} | options)))
    return clips


def test_the_papers_sequence_clip_by_clip() -> None:
    """13 clips up to latent 237; from the switch on, all belong to the second prompt."""
    clips = clips_of(new_sequence(StreamingOptions(), switch_start=57))
    assert [clip.start for clip in clips] == [0, *range(21, 220, 18)]
    assert all(clip.latents.shape[1] == 21 for clip in clips)
    assert clips[0].mask.tolist() == [True] * 21
    assert all(clip.mask.tolist() == [False] * 3 + [True] * 18 for clip in clips[1:])
    assert all(torch.equal(clip.text, texts(int(clip.start >= 57))) for clip in clips)


def test_a_sequence_is_one_rollout_with_one_recache() -> None:
    clips = clips_of(new_sequence(num_layers=2, switch_start=15))
    rollout = new_sequence(num_layers=2).rollout
    whole = [rollout.extend(15, texts(0), noise_of(), exit_step=0)]
    rollout.switch(texts(1))
    whole.append(rollout.extend(18, texts(1), noise_of(), exit_step=0))
    made = torch.cat([clip.latents[:, clip.mask] for clip in clips], 1)
    assert torch.equal(made, torch.cat(whole, 1))


def test_a_clip_begins_with_the_end_of_the_one_before_re_encoded_as_a_still() -> None:
    heard = []

    def still(latents: Tensor) -> Tensor:
        heard.append(latents)
        return torch.full_like(latents[:, :1], 7.0)

    first, second, third, *_ = clips_of(new_sequence(encode_last=still))
    assert [latents.shape[1] for latents in heard[:2]] == [7, 7]
    assert torch.equal(heard[0], first.latents[:, :7])
    assert torch.equal(heard[1][:, 1:], second.latents[:, 1:7]), "from before the still was put there"
    assert torch.equal(heard[1][:, :1], first.latents[:, 6:7])
    for earlier, later in ((first, second), (second, third)):
        assert torch.equal(later.latents[:, :1], torch.full_like(later.latents[:, :1], 7.0))
        assert torch.equal(later.latents[:, 1:3], earlier.latents[:, 7:9])


def test_a_still_is_the_last_picture_encoded_by_itself() -> None:
    vae, latents = tiny_vae().requires_grad_(False), random_latents(7)
    pictures = StreamingDecoder(vae, fps=16).decode_latents(latents)
    assert pictures.shape[1] == 25
    expected = encode_pictures(vae, pictures[:, 24:])
    assert torch.allclose(image_latent_of(vae, latents), expected, atol=1e-5)
    clips = clips_of(new_sequence(encode_last=partial(image_latent_of, vae)))
    assert torch.allclose(clips[1].latents[:, :1], image_latent_of(vae, clips[0].latents[:, :7]), atol=1e-5)


def test_only_the_new_latents_carry_gradients() -> None:
    sequence = new_sequence()
    sequence.next_clip(noise_of(), exit_step=0, with_grad=True)
    clip = sequence.next_clip(noise_of(), exit_step=0, with_grad=True)
    model = sequence.rollout.transformer
    slopes = torch.autograd.grad(
        clip.latents[:, :3].sum(), model.proj_out.weight, allow_unused=True, retain_graph=True
    )
    assert slopes[0] is None or not slopes[0].any()
    assert torch.autograd.grad(clip.latents[:, 3:].sum(), model.proj_out.weight)[0].any()


def test_a_critics_clip_has_no_history() -> None:
    assert not any(clip.latents.requires_grad for clip in clips_of(new_sequence()))


def num_live_tensors() -> int:
    gc.collect()
    return sum(type(thing) in (Tensor, torch.nn.Parameter) for thing in gc.get_objects())


@pytest.mark.parametrize(("as_released", "max_latents"), [(False, 240), (True, 93)])
def test_memory_is_flat_however_long_a_sequence_is(as_released: bool, max_latents: int) -> None:
    """After the last clip's backward pass as many tensors live as after the third's."""
    quirks = vars(ReleasedQuirks.as_released()) if as_released else {}
    options = StreamingOptions(max_latents=max_latents)
    sequence, counts, held = new_sequence(options, **quirks), [], []
    while not sequence.is_over:
        clip = sequence.next_clip(noise_of(), exit_step=0, with_grad=True)
        clip.latents[:, clip.mask].square().mean().backward()
        held.append(len(sequence.rollout.remembered(0)))
        if clip.start in (39, options.starts[-1]):
            del clip
            counts.append(num_live_tensors())
    assert counts[0] == counts[1]
    assert set(held) == {9}


@pytest.mark.parametrize("num_clips", [1, 3])
def test_a_sequence_goes_on_from_its_state(num_clips: int) -> None:
    """Killed before and after the switch at latent 15."""
    whole = new_sequence(num_layers=2, switch_start=15)
    for _ in range(num_clips):
        whole.next_clip(noise_of(), exit_step=1)
    resumed = new_sequence(num_layers=2, switch_start=15)
    resumed.restore(whole.state())
    for first, second in zip(clips_of(whole), clips_of(resumed), strict=True):
        assert torch.equal(first.latents, second.latents) and torch.equal(first.text, second.text)


def test_a_state_keeps_its_own_prompts_and_switch() -> None:
    whole, other = new_sequence(switch_start=15), new_sequence()
    whole.next_clip(noise_of(), exit_step=0)
    other.restore(whole.state())
    assert [bool(torch.equal(clip.text, texts(1))) for clip in clips_of(other)] == [False, True, True, True]


def test_impossible_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="no clip after the first starts at latent 10"):
        new_sequence(switch_start=10)
    with pytest.raises(ValueError, match="both a second prompt"):
        Sequence(new_sequence().rollout, NINE, texts(), switch_start=9)
    sequence = new_sequence()
    clips_of(sequence)
    with pytest.raises(ValueError, match="over at latent 33"):
        sequence.next_clip(noise_of(), exit_step=0)
