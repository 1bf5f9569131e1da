"""The codec's training passes give what diffusers' own give, and training makes it better and resumes."""

import json

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from longlive.errors import CheckpointError
from longlive.models.decoder import StreamingDecoder
from longlive.models.wan_vae import encode_pictures
from longlive.storybook.codec import (
    decode_clip,
    encode_clip,
    new_codec,
    random_pictures,
    train_codec,
    train_decoder,
)
from longlive.training.checkpoint import read_averages
from longlive.training.processes import Processes


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


@pytest.mark.slow
def test_training_writes_the_codec_and_resumes(tmp_path):
    train_codec(tmp_path, steps=2, processes=Processes(), batch=2)
    train_codec(tmp_path, steps=3, processes=Processes(), batch=2)
    names = sorted(path.name for path in (tmp_path / "codec/checkpoints").iterdir())
    assert names == ["step-0000002", "step-0000003"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "codec/log.jsonl").read_text().splitlines()]
    assert steps == [2, 3]
    config = json.loads((tmp_path / "vae/config.json").read_text())
    assert len(config["latents_mean"]) == 32 and config["latents_std"][0] > 0
    written = AutoencoderKLWan.from_pretrained(tmp_path / "vae").state_dict()
    averages = read_averages(tmp_path / "codec/checkpoints/step-0000003", "codec")
    assert all(torch.equal(written[name], value) for name, value in averages.items())


@pytest.mark.slow
def test_the_decoder_stage_leaves_the_encoder_and_the_statistics_alone(tmp_path):
    train_codec(tmp_path, steps=1, processes=Processes(), batch=1)
    before = AutoencoderKLWan.from_pretrained(tmp_path / "vae")
    train_decoder(tmp_path, steps=1, processes=Processes(), batch=1)
    after = AutoencoderKLWan.from_pretrained(tmp_path / "vae")
    assert after.config["latents_mean"] == before.config["latents_mean"]
    state = after.state_dict()
    changed = {
        name.split(".")[0]
        for name, value in before.state_dict().items()
        if not torch.equal(value, state[name])
    }
    assert changed == {"decoder", "post_quant_conv"}


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    (tmp_path / "codec.pt").write_bytes(b"old")
    with pytest.raises(CheckpointError, match=r"codec\.pt is a checkpoint of an earlier version"):
        train_codec(tmp_path, steps=1, processes=Processes(), batch=1)
