"""A model's folder with two sets of weights: written, read, and told apart by its digest."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from longlive import CheckpointError, ConfigError, ModelBundle, load_models, save_models
from longlive.config import LATER_FACTS
from longlive.training.export import write_model
from longlive.weights.layout import CONTEXT_TRANSFORMER, WEIGHTS

SECOND = f"{CONTEXT_TRANSFORMER}/{WEIGHTS}"


def test_both_sets_come_back(two_set_models: ModelBundle, tmp_path: Path) -> None:
    write_model(two_set_models, two_set_models.transformer.state_dict(), tmp_path)
    again = load_models(tmp_path)
    assert (again.config, again.digest) == (two_set_models.config, two_set_models.digest)
    for mine, theirs in zip(again.transformers, two_set_models.transformers, strict=True):
        expected = theirs.state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in mine.state_dict().items())
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index[CONTEXT_TRANSFORMER] == index["transformer"]


def test_the_digest_covers_both(two_set_folder: Path, two_set_models: ModelBundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(two_set_folder, tmp_path / "changed"))
    weights = load_file(folder / SECOND)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder / SECOND, {"format": "pt"})
    assert load_models(folder).digest != two_set_models.digest


def test_a_missing_set_is_named(two_set_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(two_set_folder, tmp_path / "broken"))
    (folder / SECOND).unlink()
    with pytest.raises(CheckpointError, match=CONTEXT_TRANSFORMER):
        load_models(folder)


def test_saving_asks_for_the_set_that_the_config_names(tiny_models: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="context_transformer is False"):
        save_models(
            tmp_path,
            config=tiny_models.config,
            transformer=tiny_models.transformer,
            context_transformer=tiny_models.transformer,
            vae=tiny_models.vae,
            text_encoder=tiny_models.text_encoder.model,  # type: ignore[arg-type]
            tokenizer=tiny_models.text_encoder.tokenizer,
        )


def test_files_of_models_with_one_set_are_as_they_were(tiny_folder: Path) -> None:
    """Else their digests, and with them all session files, would change."""
    facts = json.loads((tiny_folder / "longlive.json").read_text())
    assert not set(facts) & set(LATER_FACTS)
    assert CONTEXT_TRANSFORMER not in json.loads((tiny_folder / "model_index.json").read_text())
    assert not (tiny_folder / CONTEXT_TRANSFORMER).exists()
