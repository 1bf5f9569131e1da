"""The codec's training passes give what diffusers' own give, and training makes it better and resumes."""

import json

import numpy as np
import torch

from longlive.models.decoder import StreamingDecoder
from longlive.models.wan_vae import encode_pictures
from longlive.storybook.codec import decode_clip, encode_clip, new_codec, random_pictures, train_codec


def test_two_passes_equal_the_codecs_own_many():
    torch.manual_seed(0)
    codec = new_codec().eval()
    pictures = random_pictures(1, 13, np.random.default_rng(0), crop=False)
    with torch.no_grad():
        latents = encode_clip(codec, pictures)
        assert latents.shape == (1, 32, 4, 10, 16)
        reference = encode_pictures(codec, pictures.transpose(1, 2)).transpose(1, 2)
        assert torch.allclose(latents, reference, atol=1e-5)
        decoded = decode_clip(codec, latents).clamp(-1, 1)
        streamed = StreamingDecoder(codec, 16).decode_latents(latents.transpose(1, 2)).transpose(1, 2)
        assert torch.allclose(decoded, streamed, atol=1e-4)


def test_pictures_are_whole_or_crops_in_range():
    rng = np.random.default_rng(0)
    whole, crop = (random_pictures(2, 9, rng, crop=crop) for crop in (False, True))
    assert whole.shape == (2, 3, 9, 80, 128) and crop.shape == (2, 3, 9, 48, 48)
    assert whole.min() >= -1 and whole.max() <= 1


def test_a_killed_training_goes_on_where_it_was(tmp_path):
    train_codec(tmp_path, steps=2, batch=2)
    state = torch.load(tmp_path / "codec.pt", weights_only=True)
    assert state["step"] == 2
    train_codec(tmp_path, steps=3, batch=2)
    assert torch.load(tmp_path / "codec.pt", weights_only=True)["step"] == 3
    config = json.loads((tmp_path / "vae/config.json").read_text())
    assert len(config["latents_mean"]) == 32 and config["latents_std"][0] > 0
