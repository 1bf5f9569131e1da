"""Decoding chunk by chunk gives what decoding in one go gives, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from longlive.chunks import LatentChunk
from longlive.models.decoder import StreamingDecoder, put_channels_last, to_uint8
from longlive.models.tiny_vae import TinyVae
from tests.support.latents import at_once, latents
from tests.support.tiny_model import tiny_vae


def chunk(clip: Tensor, index: int, first_latent: int) -> LatentChunk:
    return LatentChunk(index, 0, "a red ball", first_latent, clip)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 1, 7), (9,), (2, 4, 3)])
@pytest.mark.parametrize("which", ["vae", "fast_vae"])
def test_streaming_gives_what_decoding_at_once_gives_bit_for_bit(
    which: str, sizes: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    vae, clip = request.getfixturevalue(which), latents(9)
    decoder = StreamingDecoder(vae, 16)
    pictures = torch.cat([decoder.decode_latents(part) for part in clip.split(sizes, 1)], 1)
    assert torch.equal(pictures, at_once(vae, clip))


def test_the_first_latent_gives_one_picture_and_each_later_one_four(vae: AutoencoderKLWan) -> None:
    decoder, parts = StreamingDecoder(vae, 16), latents(6).split(3, 1)
    first, second = (decoder.decode(chunk(part, index, 3 * index)) for index, part in enumerate(parts))
    assert first.frames.shape == (9, 32, 48, 3)
    assert second.frames.shape == (12, 32, 48, 3)
    assert (first.first_frame, second.first_frame) == (0, 9)
    assert (second.start_seconds, second.seconds) == (9 / 16, 12 / 16)
    assert first.frames.dtype == np.uint8


def test_a_videos_first_latent_goes_ahead_and_its_pictures_stay_the_same_bit_for_bit(
    vae: AutoencoderKLWan, fast_vae: AutoencoderKLWan
) -> None:
    for model in (vae, fast_vae):
        chunks = [chunk(part, index, 3 * index) for index, part in enumerate(latents(9).split(3, 1))]
        whole, in_parts = StreamingDecoder(model, 16), StreamingDecoder(model, 16)
        expected = np.concatenate([whole.decode(one).frames for one in chunks])
        parts = [in_parts.decode(part) for one in chunks for part in one.parts()]
        assert np.array_equal(np.concatenate([part.frames for part in parts]), expected)
        assert [part.index for part in parts] == [0, 0, 1, 2]
        assert [part.first_frame for part in parts] == [0, 1, 9, 21]
        assert [part.ends_chunk for part in parts] == [False, True, True, True]


def test_only_the_first_chunk_of_a_video_has_parts() -> None:
    clip = latents(3)
    assert [len(chunk(clip, *place).parts()) for place in ((0, 0), (1, 3), (4, 0))] == [2, 1, 1]
    assert len(chunk(clip[:, :1], 0, 0).parts()) == 1


def test_a_chunk_that_failed_may_be_decoded_again(vae: AutoencoderKLWan, monkeypatch) -> None:
    chunks = [chunk(part, index, 3 * index) for index, part in enumerate(latents(6).split(3, 1))]
    decoder, plain = StreamingDecoder(vae, 16), StreamingDecoder(vae, 16)
    expected = [plain.decode(one) for one in chunks]
    for one, right in zip(chunks, expected, strict=True):
        with monkeypatch.context() as patch:
            patch.setattr("longlive.models.decoder.to_uint8", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                decoder.decode(one)
        again = decoder.decode(one)
        assert np.array_equal(again.frames, right.frames) and again.first_frame == right.first_frame


def test_after_a_cut_the_pictures_start_afresh_and_the_count_goes_on(vae: AutoencoderKLWan) -> None:
    before, after = latents(6).split(3, 1)
    decoder = StreamingDecoder(vae, 16)
    decoder.decode(chunk(before, 0, 0))
    cut = decoder.decode(chunk(after, 1, 0))
    assert cut.first_frame == 9
    assert np.array_equal(cut.frames, to_uint8(at_once(vae, after)[0]))


def test_two_streams_on_one_vae_do_not_disturb_each_other(vae: AutoencoderKLWan) -> None:
    clip, other = latents(6), latents(6).flip(1)
    one, two = StreamingDecoder(vae, 16), StreamingDecoder(vae, 16)
    pairs = [
        (one.decode_latents(a), two.decode_latents(b))
        for a, b in zip(clip.split(3, 1), other.split(3, 1), strict=True)
    ]
    at_once(vae, clip)
    assert torch.equal(torch.cat([pair[0] for pair in pairs], 1), at_once(vae, clip))
    assert torch.equal(torch.cat([pair[1] for pair in pairs], 1), at_once(vae, other))


def test_a_reset_decoder_repeats_itself(vae: AutoencoderKLWan) -> None:
    decoder, clip = StreamingDecoder(vae, 16), latents(4)
    first = decoder.decode(chunk(clip, 0, 0))
    decoder.reset()
    again = decoder.decode(chunk(clip, 0, 0))
    assert again.first_frame == 0
    assert np.array_equal(first.frames, again.frames)


def test_the_memory_of_a_stream_does_not_grow(vae: AutoencoderKLWan) -> None:
    decoder, sizes = StreamingDecoder(vae, 16), set()
    for _ in range(4):
        decoder.decode_latents(latents(3))
        sizes.add(sum(part.numel() for part in decoder._features or [] if isinstance(part, Tensor)))
    assert len(sizes) == 1


def test_pictures_are_clamped_and_rounded() -> None:
    pictures = torch.tensor([-1.0, 1.0, 0.0, 0.5]).view(4, 1, 1, 1).expand(4, 3, 1, 1)
    assert to_uint8(pictures)[:, 0, 0, 0].tolist() == [0, 255, 128, 191]
    decoded = StreamingDecoder(tiny_vae().requires_grad_(False), 16).decode_latents(1000 * latents(2))
    assert decoded.abs().max() <= 1


WAN = {"base_dim": 4, "z_dim": 4, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
STORYBOOK = {"num_res_blocks": 1, "dim_mult": [1, 2, 4], "temperal_downsample": [True, True]}
DECODERS: dict[str, tuple[int, Callable[[], Any]]] = {
    "wan": (38, lambda: AutoencoderKLWan(**WAN)),
    "wan, one block": (30, lambda: AutoencoderKLWan(**WAN, num_res_blocks=1)),
    "storybook": (28, lambda: AutoencoderKLWan(**WAN | STORYBOOK)),
    "tiny": (8, lambda: TinyVae(4, (4, 4, 4, 4))),
    "tiny, early in time": (6, lambda: TinyVae(4, (4, 4, 4, 4), (2, 2, 1))),
}


@pytest.mark.parametrize("name", DECODERS)
def test_the_reach_of_a_decoder_is_how_far_a_latent_of_nans_spreads(name: str) -> None:
    expected, build = DECODERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = StreamingDecoder(build().eval().requires_grad_(False), 16)
    clip = torch.zeros(1, expected + 4, 4, 2, 2)
    clip[:, 0] = torch.nan
    spoilt = [decoder.decode_latents(latent).isnan().any().item() for latent in clip.split(1, 1)]
    assert spoilt == [True] * (expected + 1) + [False] * 3
    assert decoder.reach == expected


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(
    ("number", "size"), [(1, 3), (2, 3), (6, 3), (8, 3), (15, 3), (9, 1), (31, 1), (20, 2)]
)
def test_a_decoder_catches_up_with_all_that_the_next_pictures_depend_on(
    name: str, number: int, size: int
) -> None:
    reach, build = DECODERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = build().eval().requires_grad_(False)
    parts = latents(size * number)[..., :2, :2].split(size, 1)
    whole, late = StreamingDecoder(vae, 16), StreamingDecoder(vae, 16)
    for part in parts:
        whole.decode_latents(part)
    unneeded = max(0, number - -(-reach // size))
    late.catch_up([torch.full_like(parts[0], torch.nan)] * unneeded + list(parts[unneeded:]), 9)
    assert len(late.features) == len(whole.features) > 0
    assert all(map(torch.equal, late.features, whole.features))
    following = [decoder.decode(chunk(parts[0], 15, 45)) for decoder in (late, whole)]
    assert np.array_equal(following[0].frames, following[1].frames)
    assert following[0].first_frame == 9


def test_catching_up_costs_the_late_layers_little(vae: AutoencoderKLWan) -> None:
    seen: list[int] = []
    last = vae.decoder.up_blocks[-1]
    hook = last.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[2]))
    StreamingDecoder(vae, 16).catch_up(latents(45).split(3, 1), 177)
    hook.remove()
    assert seen == [4, 4, 4]


@pytest.mark.parametrize("is_tiny", [True, False])
def test_pictures_are_the_same_where_channels_lie_side_by_side(is_tiny: bool) -> None:
    """As on a GPU; the tiny VAE's feature maps stay so from its first convolution to its last."""
    torch.manual_seed(0)
    vae = (TinyVae(latent_channels=4) if is_tiny else tiny_vae()).requires_grad_(False)
    expected = StreamingDecoder(vae, 16).decode_latents(latents(3))
    put_channels_last(vae)
    seen: list[bool] = []
    for layer in [*vae.modules()] if is_tiny else ():
        if isinstance(layer, nn.Conv2d) and layer is not vae.decoder[1]:
            layer.register_forward_pre_hook(
                lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
            )
    found = StreamingDecoder(vae, 16).decode_latents(latents(3))
    assert torch.allclose(found, expected, atol=1e-5)
    assert all(seen) and (not is_tiny or len(seen) > 90)
