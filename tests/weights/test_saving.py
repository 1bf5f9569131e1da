"""A model that is written comes back the same, and a file that cannot be written spoils nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longlive import ModelBundle, load_models
from longlive.weights import saving
from tests.support.tiny_model import WORDS, write_tiny_model

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def test_a_model_comes_back_as_it_was_written(tiny_models: ModelBundle, tiny_folder: Path) -> None:
    config = tiny_models.config
    assert (config.name, config.height, config.width, config.text_len) == ("tiny", 32, 48, 12)
    assert (config.positions, config.transformer.prediction) == ("relative", "clean")
    assert (config.spatial_scale, config.temporal_scale, config.steps) == (8, 4, (1000, 750, 500, 250))
    assert tiny_models.card.words == WORDS
    assert tiny_models.card.stories[0].prompts[1] == (3.0, "a blue ball")
    stored = load_file(tiny_folder / TRANSFORMER)
    assert stored.keys() == tiny_models.transformer.state_dict().keys()
    assert all(torch.equal(stored[name], own) for name, own in tiny_models.transformer.state_dict().items())


def test_the_tied_embedding_of_the_text_encoder_is_stored_once_and_tied_again(
    tiny_models: ModelBundle, tiny_folder: Path
) -> None:
    """transformers 5.0 to 5.2 left it uninitialised."""
    assert "encoder.embed_tokens.weight" not in load_file(tiny_folder / "text_encoder/model.safetensors")
    model = tiny_models.text_encoder.model
    assert model.encoder.embed_tokens.weight.data_ptr() == model.shared.weight.data_ptr()


def test_writing_over_a_model_replaces_it(folder: Path) -> None:
    write_tiny_model(folder, fps=8)
    assert load_models(folder).config.fps == 8


def test_a_disk_that_fills_leaves_the_old_weights_as_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / TRANSFORMER).read_bytes()

    def full(weights: dict[str, torch.Tensor], path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_tiny_model(folder)
    assert (folder / TRANSFORMER).read_bytes() == before
    assert not list(folder.rglob("*.part"))
