"""A release holds what was trained, and training can go on from it."""

import torch

from longlive.storybook.generator import Storyteller, storybook_config
from longlive.storybook.release import begin_from, write_model
from longlive.storybook.vocabulary import tokenizer_of
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
    (tmp_path / "generator.pt").write_bytes(b"mine")
    begin_from("storybook", tmp_path)
    assert (tmp_path / "generator.pt").read_bytes() == b"mine"


def test_the_shipped_model_is_small_and_is_the_storybook():
    models = load_models("storybook")
    size = sum(path.stat().st_size for path in models.folder.rglob("*") if path.is_file())
    assert size <= 30_000_000
    assert models.config == storybook_config()
    assert "dragon" not in models.card.words and "meadow" in models.card.words


def test_the_tokenizer_of_a_folder_is_made_once(tmp_path):
    one = tokenizer_of(tmp_path, 0)
    assert tokenizer_of(tmp_path, 1).get_vocab() == one.get_vocab()
    assert len(one) == len(load_models("storybook").text_encoder.tokenizer)
    Storyteller(storybook_config(), len(one))
