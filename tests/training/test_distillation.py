"""Distillation: which learners a step updates, and how sequences follow each other."""

from pathlib import Path

import torch

from longlive.training.distillation import Distillation
from longlive.training.trainer import Trainer
from tests.support.tiny_recipe import tiny_recipe, tiny_trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.detach().clone()
        for name, learner in trainer.stage.learners.items()
        for key, value in learner.state()["parameters"].items()
    }


def test_the_generator_trains_every_so_often_and_the_critic_always(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path), tmp_path / "run")
    before = weights(trainer)
    losses = {"generator_loss", "critic_loss"}
    trained = [losses & set(trainer.step(step)) for step in range(3)]
    assert trained == [losses, {"critic_loss"}, losses]
    moved = {
        name.split(".")[0] for name, value in weights(trainer).items() if not torch.equal(value, before[name])
    }
    assert moved == {"generator", "critic"}


def test_every_call_takes_the_next_clip_and_a_new_sequence_has_new_prompts(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path), tmp_path / "run")
    stage = trainer.stage
    assert isinstance(stage, Distillation)
    seen = []
    for step in range(4):
        trainer.step(step)
        seen.append((stage.streams[0].number, stage.streams[0].calls, stage.prompts()))
    assert [calls for _, calls, _ in seen] == [2, 3, 5, 6]
    assert [number for number, _, _ in seen] == [0, 0, 1, 1], "four clips of 6, 3, 3 and 3 latents each"
    assert seen[0][2] != seen[2][2]


def test_a_sample_switches_prompts_if_training_does(tiny_folder: Path, tmp_path: Path) -> None:
    for has_switch, num_prompts in ((True, 2), (False, 1)):
        recipe = tiny_recipe(tiny_folder, tmp_path, sequences={"has_switch": has_switch})
        stage = tiny_trainer(recipe, tmp_path / str(has_switch)).stage
        chunks = stage.sample(12)
        assert len(chunks) == 4
        assert len({chunk.prompt for chunk in chunks}) == num_prompts
