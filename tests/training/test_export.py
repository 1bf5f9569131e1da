"""An exported model is the trained one: averages in place of the last weights, and a LoRA merged."""

from pathlib import Path

import pytest
import torch

from longlive import load_models
from longlive.training.export import export
from longlive.training.lora import split_lora
from tests.support.tiny_recipe import tiny_recipe, tiny_trainer
from tests.support.tiny_transformer import random_latents, random_prompt


@pytest.mark.parametrize("rank", [0, 4])
def test_the_exported_model_predicts_what_the_averaged_one_does(
    rank: int, tiny_folder: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(tiny_folder, tmp_path, generator={"lora_rank": rank, "lr": 1e-2})
    trainer = tiny_trainer(recipe, tmp_path / "run", "dmd")
    for step in range(3):
        trainer.step(step)
    learner = trainer.stage.learners["generator"]
    export(trainer.stage, tmp_path)
    exported = load_models(tmp_path / "model").transformer
    assert (tmp_path / "lora.safetensors").exists() == bool(rank)
    trained = learner.module
    with torch.no_grad():
        last = trained(random_latents(3), 500.0, random_prompt(trained))
        with learner.averaged():
            expected = trained(random_latents(3), 500.0, random_prompt(trained))
        output = exported(random_latents(3), 500.0, random_prompt(exported))
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(output, last, rtol=1e-3, atol=1e-4)
    assert set(split_lora(exported.state_dict())[1]) == set()
