"""Models without files: the sizes of the real ones, and random weights that are the same each time."""

from pathlib import Path

import pytest
import torch

from longlive import Session
from longlive.errors import ConfigError, PromptError
from longlive.models.tiny_vae import TinyVae
from longlive.weights.random_models import MID_SIZE, config_of, random_models


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


def test_the_released_model_and_the_middle_size_need_no_files() -> None:
    assert config_of("longlive-1.3b").tokens_per_latent == 1560
    assert config_of("mid-size") is MID_SIZE
    assert (MID_SIZE.tokens_per_latent, MID_SIZE.transformer.dim, MID_SIZE.window) == (15 * 26, 512, 12)


def test_prompts_are_checked_and_an_unknown_decoder_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(PromptError):
        random_models(str(tiny_folder)).text_encoder.encode("")
    with pytest.raises(ConfigError, match="decoder"):
        random_models(str(tiny_folder), decoder="huge")
