"""From recipe to stage: what is trained, and in which precision."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from longlive import ConfigError
from longlive.training.distillation import Distillation
from longlive.training.processes import Processes
from longlive.training.setup import compute_in, new_stage, reset_parameters
from tests.support.tiny_model import write_tiny_model
from tests.support.tiny_recipe import tiny_recipe
from tests.support.tiny_transformer import random_latents, random_prompt, tiny_transformer


def test_only_the_generator_and_the_critic_are_trained(tiny_folder: Path, tmp_path: Path) -> None:
    stage = new_stage("streaming", tiny_recipe(tiny_folder, tmp_path), Processes(), folder=tmp_path)
    assert isinstance(stage, Distillation)
    assert set(stage.learners) == {"generator", "critic"}
    assert not any(value.requires_grad for value in stage.scores.teacher.parameters())
    assert not any(value.requires_grad for value in stage.models.text_encoder.model.parameters())
    critic, teacher = stage.scores.critic.state_dict(), stage.scores.teacher.state_dict()
    assert all(torch.equal(value, critic[name]) for name, value in teacher.items())
    assert stage.scores.critic is not stage.scores.teacher


def test_half_precision_stays_inside_the_models() -> None:
    transformer = tiny_transformer()
    wanted = transformer(random_latents(3), 500.0, random_prompt(transformer))
    compute_in(transformer, torch.bfloat16, "cpu")
    output = transformer(random_latents(3), 500.0, random_prompt(transformer))
    assert output.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in transformer.parameters())
    assert not torch.equal(output, wanted)
    torch.testing.assert_close(output, wanted, rtol=0.1, atol=0.1)


def test_a_fresh_transformer_says_nothing_at_first_and_its_seed_decides_it() -> None:
    transformer, other = tiny_transformer(), tiny_transformer()
    reset_parameters(transformer, 1)
    torch.manual_seed(9)
    reset_parameters(other, 1)
    assert not transformer(random_latents(3), 500.0, random_prompt(transformer)).any()
    state = other.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in transformer.state_dict().items())


def test_a_teacher_with_another_text_encoder_reads_by_its_own(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_folder, tmp_path)
    stage = new_stage("dmd", recipe, Processes(), folder=tmp_path)
    assert isinstance(stage, Distillation)
    assert stage.score_reader is None
    weights = tmp_path / "other"
    write_tiny_model(weights)
    path = weights / "text_encoder/model.safetensors"
    save_file({name: value + 0.1 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    other = tiny_recipe(tiny_folder, tmp_path, models={"teacher": str(weights)})
    stage = new_stage("dmd", other, Processes(), folder=tmp_path)
    assert isinstance(stage, Distillation)
    assert stage.score_reader is not None


def test_a_teacher_of_other_latents_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "wide", width=64)
    recipe = tiny_recipe(tiny_folder, tmp_path, models={"teacher": str(tmp_path / "wide")})
    with pytest.raises(ConfigError, match=r"latent_shape is \(4, 4, 8\), but the generator's is \(4, 4, 6\)"):
        new_stage("dmd", recipe, Processes(), folder=tmp_path)
