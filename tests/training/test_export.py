"""An exported model is the trained one: averages in place of the last weights, and a LoRA merged."""

from pathlib import Path

import pytest
import torch

from longlive import load_models
from longlive.models.transformer import CausalWanTransformer
from longlive.training.export import export
from longlive.training.lora import split_lora
from tests.support.tiny_recipe import PROMPTS, tiny_recipe, tiny_trainer


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
    models = trainer.stage.models
    tokens = models.text_encoder.encode(PROMPTS[0]).tokens
    latents = torch.randn(1, 3, *models.config.latent_shape, generator=torch.Generator().manual_seed(0))

    def predict(transformer: CausalWanTransformer) -> torch.Tensor:
        return transformer(latents, 500.0, transformer.read_prompt(tokens))

    with torch.no_grad():
        last = predict(models.transformer)
        with learner.averaged():
            expected = predict(models.transformer)
        output = predict(exported)
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(output, last, rtol=1e-3, atol=1e-4)
    assert set(split_lora(exported.state_dict())[1]) == set()
