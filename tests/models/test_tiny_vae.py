"""The tiny VAE: the published names and sizes; streaming equals one-shot, and a plain twin."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from longlive.chunks import LatentChunk
from longlive.models.decoder import StreamingDecoder
from longlive.models.tiny_vae import TinyVae


@pytest.fixture(scope="module")
def vae() -> TinyVae:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = TinyVae(4, (12, 8, 8, 6)).eval().requires_grad_(False)
        for weight in vae.parameters():
            weight.copy_(
                torch.randn_like(weight) * (0.8 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1)
            )
        vae.decoder[-1].bias.fill_(0.5)  # type: ignore[union-attr]
        return vae


def latents(number: int) -> Tensor:
    return 2 * torch.randn(1, number, 4, 4, 6, generator=torch.Generator().manual_seed(1))


def plain(vae: TinyVae, clip: Tensor) -> Tensor:
    """The whole clip at once, written down anew from the published description."""
    weights, x = vae.state_dict(), torch.tanh(clip[0] / 3) * 3

    def conv(name: str, x: Tensor, padding: int = 1) -> Tensor:
        weight = weights[f"decoder.{name}.weight"]
        return F.conv2d(x, weight, weights.get(f"decoder.{name}.bias"), padding=padding)

    x = conv("1", x).relu()
    for first, times in ((3, 1), (9, 2), (15, 2)):
        for block in range(first, first + 3):
            both = torch.cat([x, torch.cat([torch.zeros_like(x[:1]), x[:-1]])], 1)
            inside = conv(f"{block}.conv.2", conv(f"{block}.conv.0", both).relu()).relu()
            x = (conv(f"{block}.conv.4", inside) + x).relu()
        x = conv(f"{first + 4}.conv", F.interpolate(x, scale_factor=2), padding=0)
        x = conv(str(first + 5), x.reshape(-1, x.shape[1] // times, *x.shape[2:]))
    return (conv("22", x.relu()).clamp(0, 1) * 2 - 1)[None, 3:]


def test_names_and_sizes_are_those_of_the_published_decoder() -> None:
    """taew2_1: 128 tensors with its encoder, whose half they are; decoder 9.84 M parameters."""
    with torch.device("meta"):
        state = TinyVae().state_dict()
    assert len(state) == 64
    assert sum(tensor.numel() for tensor in state.values()) == 9_844_611
    shapes = {
        "decoder.1.weight": (256, 16, 3, 3),
        "decoder.3.conv.0.weight": (256, 512, 3, 3),
        "decoder.5.conv.4.bias": (256,),
        "decoder.7.conv.weight": (256, 256, 1, 1),
        "decoder.8.weight": (128, 256, 3, 3),
        "decoder.13.conv.weight": (256, 128, 1, 1),
        "decoder.19.conv.weight": (128, 64, 1, 1),
        "decoder.20.weight": (64, 64, 3, 3),
        "decoder.22.bias": (3,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert not {"decoder.8.bias", "decoder.7.conv.bias", "decoder.22.conv.weight"} & set(state)


def test_a_chunk_costs_what_was_counted_for_the_published_one() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        TinyVae()(torch.empty(1, 3, 16, 60, 104))
    assert counter.get_total_flops() / 1e12 == pytest.approx(1.63, abs=0.005)


def test_it_computes_what_the_plain_twin_computes(vae: TinyVae) -> None:
    pictures, _ = vae(latents(5))
    assert pictures.shape == (1, 17, 3, 32, 48)
    torch.testing.assert_close(pictures, plain(vae, latents(5)), atol=1e-5, rtol=0)
    assert pictures.std() > 0.05


@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 1, 7), (9,), (2, 4, 3)])
def test_streaming_equals_one_shot(vae: TinyVae, sizes: tuple[int, ...]) -> None:
    decoder, clip = StreamingDecoder(vae, 16), latents(9)
    parts = [decoder.decode_latents(part) for part in clip.split(sizes, 1)]
    assert parts[0].shape[1] == 4 * sizes[0] - 3
    torch.testing.assert_close(torch.cat(parts, 1), vae(clip)[0], atol=1e-6, rtol=0)


def test_blocks_and_a_pixel_shuffle_are_options_that_the_config_names() -> None:
    vae = TinyVae(4, (12, 8, 8, 6), blocks=(2, 1, 1), patch=2).eval().requires_grad_(False)
    clip = latents(5)
    pictures, state = vae(clip)
    assert pictures.shape == (1, 17, 3, 64, 96) and len(state) == 4
    again = TinyVae(**vae.config)
    again.load_state_dict(vae.state_dict())
    torch.testing.assert_close(again(clip)[0], pictures)
    decoder = StreamingDecoder(vae, 16)
    parts = [decoder.decode_latents(part) for part in clip.split((2, 3), 1)]
    torch.testing.assert_close(torch.cat(parts, 1), pictures, atol=1e-6, rtol=0)
    assert TinyVae(4, (12, 8, 8, 6)).config | {"blocks": [2, 1, 1], "patch": 2} == vae.config


def test_a_stream_remembers_one_frame_for_each_memory_block(vae: TinyVae) -> None:
    memory = None
    for _ in range(3):
        _, memory = vae(latents(3), memory)
        assert [tuple(part.shape[1:]) for part in memory] == (
            [(1, 12, 4, 6)] * 3 + [(1, 8, 8, 12)] * 3 + [(1, 8, 16, 24)] * 3
        )
        assert all(part.untyped_storage().nbytes() == 4 * part.numel() for part in memory), "no views"


def test_a_cut_starts_afresh_and_a_branch_goes_on_by_itself(vae: TinyVae) -> None:
    def chunk(index: int, first: int) -> LatentChunk:
        return LatentChunk(index, 0, "a red ball", first, latents(3))

    decoder = StreamingDecoder(vae, 16)
    first = decoder.decode(chunk(0, 0))
    branch = decoder.branch()
    second = decoder.decode(chunk(1, 3))
    assert (branch.decode(chunk(1, 3)).frames == second.frames).all()
    cut = decoder.decode(chunk(2, 0))
    assert (cut.frames == first.frames).all()
    assert (first.first_frame, second.first_frame, cut.first_frame) == (0, 9, 21)
