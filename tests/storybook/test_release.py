"""A release holds what was trained, and training can go on from it."""

import pytest
import torch

from longlive.errors import CheckpointError
from longlive.storybook.generator import storybook_config
from longlive.storybook.release import begin_from, write_model
from longlive.weights.loading import load_models


def test_training_goes_on_from_a_release_and_gives_the_same_release_back(tmp_path):
    begin_from("storybook", tmp_path / "run")
    write_model(tmp_path / "run", tmp_path / "model")
    old, new = load_models("storybook"), load_models(tmp_path / "model")
    for name, value in old.transformer.state_dict().items():
        assert torch.equal(value, new.transformer.state_dict()[name]), name
    for name, value in old.vae.state_dict().items():
        assert torch.equal(value, new.vae.state_dict()[name]), name
    prompt = "a red ball jumps on a green meadow"
    assert torch.equal(old.text_encoder.encode(prompt).tokens, new.text_encoder.encode(prompt).tokens)
    assert new.card == old.card


def test_a_checkpoint_that_is_there_is_not_overwritten(tmp_path):
    begin_from("storybook", tmp_path)
    kept = tmp_path / "generator/checkpoints/step-0000000/learners.pt"
    kept.write_bytes(b"mine")
    begin_from("storybook", tmp_path)
    assert kept.read_bytes() == b"mine"


def test_a_release_needs_a_checkpoint_of_the_generator(tmp_path):
    with pytest.raises(CheckpointError, match="Train the generator stage first"):
        write_model(tmp_path, tmp_path / "model")


def test_the_shipped_model_is_small_and_is_the_storybook():
    models = load_models("storybook")
    size = sum(path.stat().st_size for path in models.folder.rglob("*") if path.is_file())
    assert size <= 30_000_000
    assert models.config == storybook_config()
    assert "dragon" not in models.card.words and "meadow" in models.card.words
