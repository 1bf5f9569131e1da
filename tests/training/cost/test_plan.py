"""Counted costs hold for the real thing at tiny size, and the paper's numbers come out at full size."""

from pathlib import Path
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from longlive.benchmark.cost import count_costs
from longlive.training.cost.plan import format_plan, plan
from longlive.training.recipe import Recipe
from tests.support.tiny_recipe import tiny_recipe, tiny_trainer


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return plan(Recipe.read("longlive-1.3b-64gpu", "streaming"), "streaming")


@pytest.mark.slow
def test_the_paper_s_recipe_is_counted_without_its_hardware(paper: dict[str, Any]) -> None:
    """Source of the counts: Wan 2.1's model cards (1.3B and 14B) and the released rank 256."""
    generator, teacher = paper["parameters"]["generator"], paper["parameters"]["teacher"]
    assert generator["all"] - generator["trainable"] == 1_418_996_800
    assert generator["trainable"] == 30 * 256 * (8 * 2 * 1536 + 2 * (1536 + 8960))
    assert 14.2e9 < teacher["all"] < 14.4e9
    assert teacher["trainable"] == 0
    assert (paper["processes"], paper["global_batch"], paper["accumulation"]) == (64, 64, 1)


def test_the_flops_of_a_step_are_those_of_a_real_one(tiny_folder: Path, tmp_path: Path) -> None:
    """One real step of plain DMD at the last exit step, against the same passes as counted."""
    recipe = tiny_recipe(
        tiny_folder,
        tmp_path,
        run={"global_batch": 1, "generator_every": 1},
        sequences={"clip": 3, "new_latents": 3, "max_latents": 3, "has_switch": False},
        stream={"window": 6},
    )
    stage = tiny_trainer(recipe, tmp_path / "run", "dmd").stage
    with FlopCounterMode(display=False) as counter:
        stage.train(0)
    said = plan(recipe, "dmd")["flops_per_sample"]
    assert counter.get_total_flops() == pytest.approx(sum(said.values()), rel=0.35), (
        "the count takes a full window and the average exit step"
    )


@pytest.mark.slow
def test_a_generator_step_costs_more_than_three_passes_of_each_chunk(paper: dict[str, Any]) -> None:
    one_pass = count_costs("longlive-1.3b")["flops_pass"]
    assert paper["flops_per_sample"]["generator_step"] > 7 * 3 * one_pass


@pytest.mark.parametrize(
    "name",
    ["storybook-cpu", "storybook-gpu", "longlive-1.3b-64gpu", "longlive-1.3b-8gpu", "longlive-1.3b-1gpu"],
)
@pytest.mark.parametrize("stage", ["dmd", "streaming"])
def test_every_recipe_is_read_and_says_its_global_batch(name: str, stage: str) -> None:
    recipe = Recipe.read(name, stage)
    assert recipe.run.num_streams % recipe.run.processes == 0
    assert (recipe.sequences.switch_starts == ()) == (stage == "dmd")


def test_the_paper_s_recipe_trains_two_steps_at_tiny_width(tiny_folder: Path, tmp_path: Path) -> None:
    """The same file with tiny models and clips; precision, checkpointing, LoRA and optimizers as they are."""
    tables = planning_tables(tiny_folder, tmp_path)
    recipe = Recipe.read("longlive-1.3b-64gpu", "streaming", tables)
    trainer = tiny_trainer(recipe, tmp_path / "run")
    first, second = trainer.step(0), trainer.step(1)
    assert {"generator_loss", "critic_loss"} <= set(first)
    assert "generator_loss" not in second
    assert trainer.stage.learners["generator"].options.lora_rank == 256


def planning_tables(models: Path, folder: Path) -> dict[str, str]:
    """Changes that leave of the paper's recipe all but its size."""
    tiny_recipe(models, folder)
    return {
        "models.generator": str(models),
        "models.teacher": str(models),
        "models.critic": str(models),
        "data.prompts": str(folder / "prompts.txt"),
        "data.next_prompts": str(folder / "next.txt"),
        "run.global_batch": "2",
        "run.shard": "false",
        "sequences.clip": "6",
        "sequences.new_latents": "3",
        "sequences.max_latents": "15",
    }


@pytest.mark.slow
def test_a_plan_is_printed_as_a_table(paper: dict[str, Any]) -> None:
    table = format_plan(paper)
    assert "64 processes, 64 samples a step" in table
    assert "activations, checkpointed" in table
