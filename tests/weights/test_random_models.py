"""Models without files: the sizes of the real ones, and random weights that are the same each time."""

from pathlib import Path

import pytest
import torch

from longlive import Session
from longlive.errors import ConfigError, PromptError
from longlive.models.tiny_vae import TinyVae
from longlive.weights.random_models import random_models
from longlive.weights.registry import config_of
from tests.support.tiny_model import write_tiny_model


def test_a_folder_gives_its_sizes_and_a_session_runs(tiny_folder: Path) -> None:
    models = random_models(str(tiny_folder))
    assert models.config == config_of(str(tiny_folder))
    with Session(models, "a red ball", seed=1) as session:
        frames = session.next_chunk().frames
    assert frames.shape == (9, models.config.height, models.config.width, 3)


def test_weights_are_the_same_each_time_and_nothing_else_is_drawn(tiny_folder: Path) -> None:
    before = torch.random.get_rng_state()
    first, second = (random_models(str(tiny_folder)).transformer.state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_tiny_decoder_has_the_latents_channels(tiny_folder: Path) -> None:
    models = random_models(str(tiny_folder), decoder="tiny")
    assert isinstance(models.decoder, TinyVae) and models.decoder_name == "tiny"
    assert models.decoder.config["latent_channels"] == models.config.transformer.in_channels


@pytest.mark.parametrize("decoder", ["wan", "tiny"])
def test_rollouts_that_overlap_are_encoded_again_whichever_decoder_shows_them(
    tmp_path: Path, decoder: str
) -> None:
    write_tiny_model(tmp_path, window=12, sink=0, overlap=3, steps=(1000, 500))
    with Session(random_models(str(tmp_path), decoder=decoder), "a red ball", seed=1) as session:
        assert [len(session.next_chunk().frames) for _ in range(5)] == [9, 12, 12, 12, 12]


def test_prompts_are_checked_and_an_unknown_decoder_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(PromptError):
        random_models(str(tiny_folder)).text_encoder.encode("")
    with pytest.raises(ConfigError, match="decoder"):
        random_models(str(tiny_folder), decoder="huge")
