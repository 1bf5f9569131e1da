"""Other words for the same scene: the text encoder learns them, and nothing else changes."""

import copy
from pathlib import Path

import pytest
import torch

from longlive.cli import main
from longlive.models.bundle import ModelBundle
from longlive.storybook import paraphrases
from longlive.storybook.paraphrases import teach_paraphrases
from longlive.storybook.world.captions import plain_caption
from longlive.weights.loading import load_models


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> ModelBundle:
    """The embedded model, and steps of a few captions."""
    monkeypatch.setattr(paraphrases, "NUM_CANDIDATES", 8)
    monkeypatch.setattr(paraphrases, "BATCH", 4)
    return load_models("storybook")


@pytest.mark.slow
def test_a_forgotten_word_is_learnt_again(models: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        paraphrases, "caption", lambda scene, *_, **__: plain_caption(scene).replace(scene.colour, "puce")
    )
    transformer = copy.deepcopy(models.transformer.state_dict())
    losses = list(teach_paraphrases(models, steps=12, seed=0, lr=3e-3))
    assert min(losses[-3:]) < 0.7 * losses[0]
    for name, value in models.transformer.state_dict().items():
        assert torch.equal(value, transformer[name]), name


def test_the_same_words_cost_no_more_than_rounding(
    models: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paraphrases, "caption", lambda scene, *_, **__: plain_caption(scene))
    assert max(teach_paraphrases(models, steps=1, seed=0, lr=1e-3)) < 1e-3


def test_the_command_writes_a_model_of_the_same_files(models: ModelBundle, tmp_path: Path) -> None:
    out = tmp_path / "taught"
    words = ["--stages", "release", "words", "--words-steps", "1"]
    folders = ["--start-from", str(models.folder), "--folder", str(tmp_path / "run"), "--out", str(out)]
    assert main(["train", "storybook", *words, *folders]) == 0
    names = {path.relative_to(models.folder) for path in models.folder.rglob("*") if path.is_file()}
    assert {path.relative_to(out) for path in out.rglob("*") if path.is_file()} == names
    for name in ("tokenizer/tokenizer.json", "transformer/diffusion_pytorch_model.safetensors"):
        assert (out / name).read_bytes() == (models.folder / name).read_bytes(), name
    changed = "text_encoder/model.safetensors"
    assert (out / changed).read_bytes() != (models.folder / changed).read_bytes()
