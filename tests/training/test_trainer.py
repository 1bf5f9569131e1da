"""A run that is killed goes on with the same numbers; one that breaks says where."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from longlive import ModelBundle, TrainingError, load_models
from longlive.training.data.clips import CleanClip
from longlive.training.distillation import Distillation
from longlive.training.processes import Processes
from longlive.training.recipe import Recipe
from longlive.training.setup import new_stage
from longlive.training.trainer import Trainer
from tests.support.tiny_recipe import PROMPTS, tiny_recipe, tiny_trainer


class RandomClips:
    """Clips of noise, by seed and index."""

    def clip_at(self, seed: int, index: int) -> CleanClip:
        rng = torch.Generator().manual_seed(1000 * seed + index)
        return CleanClip(torch.randn(6, 4, 4, 6, generator=rng), PROMPTS[index % len(PROMPTS)])


def trainer_of(name: str, recipe: Recipe, folder: Path) -> Trainer:
    if name != "teacher":
        return tiny_trainer(recipe, folder, name)
    stage = new_stage(name, recipe, Processes(), folder=folder, clips=RandomClips())
    return Trainer(stage, recipe, folder, Processes(), name=name)


def numbers(trainer: Trainer, first: int, last: int) -> list[dict[str, float]]:
    return [trainer.step(step) for step in range(first, last)]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.detach().clone()
        for name, learner in trainer.stage.learners.items()
        for key, value in learner.state()["parameters"].items()
    }


STAGES = {
    "teacher": {"teaching": {"trains_text": True}},
    "init": {},
    "dmd": {"sequences": {"clip": 6, "max_latents": 6, "has_switch": False, "new_latents": 3}},
    "streaming": {},
    "streaming by lora": {"generator": {"lora_rank": 4, "lr": 1e-2}, "critic": {"lora_rank": 4}},
    "streaming as released": {
        "defects": dict.fromkeys(("zeroes_sink", "leaks_gradients", "noises_context"), True)
    },
}


@pytest.mark.parametrize(("kind", "killed_at"), [*((kind, 3) for kind in STAGES), ("streaming", 1)])
def test_a_run_that_was_killed_goes_on_with_the_same_numbers(
    kind: str, killed_at: int, tiny_folder: Path, tmp_path: Path
) -> None:
    """At step 3 the sequence has been through its switch; cache, position and prompts must come back."""
    name, recipe = kind.split()[0], tiny_recipe(tiny_folder, tmp_path / "prompts", **STAGES[kind])
    whole = trainer_of(name, recipe, tmp_path / "whole")
    expected = numbers(whole, 0, 5)
    begun = trainer_of(name, recipe, tmp_path / "killed")
    numbers(begun, 0, killed_at)
    begun.save(killed_at)
    numbers(begun, killed_at, killed_at + 1)
    resumed = trainer_of(name, recipe, tmp_path / "killed")
    assert resumed.first == killed_at
    assert numbers(resumed, killed_at, 5) == expected[killed_at:]
    after = weights(resumed)
    assert all(torch.equal(value, after[key]) for key, value in weights(whole).items())


def test_the_generator_trains_every_so_often_and_the_critic_always(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path), tmp_path / "run")
    before = weights(trainer)
    trained = [{"generator_loss", "critic_loss"} & set(values) for values in numbers(trainer, 0, 3)]
    assert trained == [{"generator_loss", "critic_loss"}, {"critic_loss"}, {"generator_loss", "critic_loss"}]
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


@pytest.mark.parametrize("size", [1, 2])
def test_the_losses_do_not_depend_on_how_the_batch_is_cut(
    size: int, tiny_folder: Path, tmp_path: Path
) -> None:
    cut = {"global_batch": 2, "micro_batch": size}
    recipe = tiny_recipe(tiny_folder, tmp_path, run=cut)
    first, *_ = numbers(tiny_trainer(recipe, tmp_path / "run"), 0, 1)
    other = numbers(tiny_trainer(tiny_recipe(tiny_folder, tmp_path), tmp_path / "other"), 0, 1)[0]
    assert first == pytest.approx(other, rel=1e-4)


def test_a_loss_that_is_no_number_stops_with_step_prompts_and_the_last_good_checkpoint(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts"), tmp_path / "run")
    trainer.step(0)
    kept = trainer.save(1)
    with torch.no_grad():
        trainer.stage.models.transformer.proj_out.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 2: generator_loss is nan") as caught:
        trainer.step(2)
    assert str(kept) in str(caught.value)
    assert any(prompt in str(caught.value) for prompt in PROMPTS)


def test_a_run_leaves_curves_samples_checkpoints_and_a_model(tiny_folder: Path, tmp_path: Path) -> None:
    run: dict[str, Any] = {"steps": 3, "sample_every": 2, "sample_latents": 6, "save_every": 1, "keep": 2}
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path, run=run), tmp_path / "run")
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"critic_loss", "critic_norm", "critic_lr", "samples_per_second", "memory_bytes"} <= set(lines[1])
    assert [path.name for path in sorted((tmp_path / "run/samples").iterdir())] == [
        "sample-0000002.gif",
        "sample-0000003.gif",
    ]
    names = [path.name for path in sorted((tmp_path / "run/checkpoints").iterdir())]
    assert names == ["step-0000002", "step-0000003"]
    assert list((tmp_path / "run/tensorboard").iterdir())


def test_training_leaves_the_files_of_the_models_alone(tiny_models: ModelBundle, tiny_folder: Path) -> None:
    assert load_models(tiny_folder).digest == tiny_models.digest
