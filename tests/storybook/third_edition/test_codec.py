"""The codec's two decoders, and the loss that trains them."""

import copy

import pytest
import torch

from longlive.models.decoder import StreamingDecoder
from longlive.storybook.third_edition.codec import Codec, gradient_magnitude, picture_loss, pixel_weights


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    return Codec().eval().requires_grad_(False)


def test_training_decodes_what_streaming_decodes(codec: Codec) -> None:
    pictures = torch.rand(1, 3, 9, 32, 64) * 2 - 1
    normal = codec.normalise(codec.encode(pictures))
    assert normal.shape == (1, 48, 3, 2, 4)
    for decoded, network in ((codec.decode(normal), codec.wan), (codec.decode_tiny(normal), codec.tiny)):
        streamed = StreamingDecoder(network, 16).decode_latents(normal.transpose(1, 2)).transpose(1, 2)
        assert streamed.shape == pictures.shape
        torch.testing.assert_close(decoded.clamp(-1, 1), streamed, atol=1e-4, rtol=0)


def test_normalised_latents_have_mean_0_and_deviation_1() -> None:
    codec = Codec()
    latents = 3 + 2 * torch.randn(4, 48, 3, 2, 4)
    codec.update_statistics(latents, 1.0)
    normal = codec.normalise(latents)
    assert normal.mean((0, 2, 3, 4)).abs().max() < 1e-5
    assert normal.square().mean() == pytest.approx(1, abs=1e-3)


def test_statistics_of_many_batches_are_those_of_all_their_clips(codec: Codec) -> None:
    codec = copy.deepcopy(codec)
    pictures = torch.rand(5, 3, 5, 32, 64) * torch.linspace(0.1, 2, 5).view(-1, 1, 1, 1, 1) - 1
    raw = codec.encode(pictures)
    codec.measure_statistics(pictures.split(2))
    normal = codec.normalise(raw)
    assert normal.mean((0, 2, 3, 4)).abs().max() < 1e-3
    assert normal.square().mean() == pytest.approx(1, abs=1e-3)


def test_the_loss_counts_edges_and_the_middle_more() -> None:
    pictures = torch.zeros(1, 3, 1, 32, 64)
    pictures[..., 10:20, 4:8] = 1
    weight = pixel_weights(pictures)
    assert weight.mean() == pytest.approx(1) and weight[0, 0, 0, 10, 4] > 2 * weight[0, 0, 0, 30, 2]
    assert weight[0, 0, 0, 30, 32] == pytest.approx(2 * float(weight[0, 0, 0, 30, 2]))
    exact, nothing = picture_loss(pictures, pictures, weight)
    assert exact == 0 and nothing == 0
    wrong_at_an_edge, wrong_elsewhere = pictures.clone(), pictures.clone()
    wrong_at_an_edge[..., 10, 5] -= 0.5
    wrong_elsewhere[..., 30, 2] -= 0.5
    assert (
        picture_loss(wrong_at_an_edge, pictures, weight)[0]
        > picture_loss(wrong_elsewhere, pictures, weight)[0]
    )
    assert gradient_magnitude(pictures)[0, 0, 0, 9, 5] == 1
