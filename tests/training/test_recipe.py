"""Recipes: what a file, a stage and ``--set`` say, and how a wrong word is told."""

from pathlib import Path
from typing import Any

import pytest

from longlive import ConfigError
from longlive.training.objectives.options import ReleasedQuirks
from longlive.training.recipe import LearnerOptions, Recipe, Run

FILE = """
[run]
steps = 10
[generator]
lr = 1
betas = [0.5, 0.9]
[stage.dmd.run]
steps = 20
[stage.dmd.generator]
ema = 0.9
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(FILE)
    return path


def test_a_stage_s_own_words_come_on_top_and_those_of_the_command_line_last(file: Path) -> None:
    plain, dmd = (
        Recipe.read(file, "streaming"),
        Recipe.read(file, "dmd", {"run.seed": "7", "generator.ema": "0.5"}),
    )
    assert (plain.run.steps, plain.generator.ema) == (10, 0.0)
    assert (dmd.run.steps, dmd.run.seed, dmd.generator.ema) == (20, 7, 0.5)
    assert dmd.generator.lr == 1.0
    assert dmd.generator.betas == (0.5, 0.9)


def test_words_without_quotes_are_words_and_none_is_none(file: Path) -> None:
    recipe = Recipe.read(file, "dmd", {"models.teacher": "runs/teacher/model", "models.critic": "none"})
    assert (recipe.models.teacher, recipe.models.critic) == ("runs/teacher/model", None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator.lrr": "1"}, r"key of \[generator\] is 'lrr'.*Did you mean 'lr'"),
        ({"generater.lr": "1"}, "section is 'generater'.*Did you mean 'generator'"),
        ({"lr": "1"}, r"--set is 'lr', but it must be section.key=value"),
        ({"run.steps": "many"}, "run.steps is 'many', but it must be of type int, not str"),
        ({"run.steps": "1.5"}, "run.steps is 1.5, but it must be of type int, not float"),
        ({"run.steps": "true"}, "must be of type int, not bool"),
        ({"run.shard": "1"}, "must be of type bool, not int"),
        ({"generator.betas": "[0.1]"}, "must be a list of 2 values"),
        ({"generator.optimizer": "sgd"}, "must be one of adamw, muon"),
        ({"run.global_batch": "3", "run.micro_batch": "2"}, r"must be a multiple of micro_batch \(2\)"),
        ({"run.keep": "0"}, "keep is 0, but it must be at least 1"),
        ({"generator.lr": "-1"}, "lr is -1.0, but it must be above 0"),
        ({"generator.ema": "1.0"}, "ema is 1.0"),
        ({"teaching.drop": "2"}, "drop is 2.0"),
        ({"sequences.clip": "0"}, "clip is 0"),
    ],
)
def test_a_wrong_word_is_told_with_the_key_and_the_cure(
    changes: dict[str, str], words: str, file: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        Recipe.read(file, "dmd", changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[stage.dmdd.run]\nsteps = 1", "stage is 'dmdd'.*Did you mean 'dmd'"),
        ("run = 3", "run is 3, but a section is a table"),
        ("[run", "it is no TOML"),
    ],
)
def test_a_wrong_file_is_told(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        Recipe.read(tmp_path / "recipe.toml", "dmd")


@pytest.mark.parametrize(
    ("name", "words"), [("storybok", "Known names: .*storybook-cpu"), ("gone.toml", "cannot be read")]
)
def test_a_recipe_that_is_not_there_is_told(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Recipe.read(name, "dmd")


def test_as_released_sets_every_defect_and_the_guidance_that_goes_with_it() -> None:
    recipe = Recipe().as_released()
    assert recipe.defects == ReleasedQuirks.as_released()
    assert recipe.distillation.guidance == 3.0
    assert Recipe().defects == ReleasedQuirks()


def test_the_learning_rate_rises_holds_and_falls() -> None:
    options = LearnerOptions(lr=2.0, warm_up=4, decay=0.5)
    assert [options.lr_at(step, 20) for step in (0, 1, 3, 9)] == [0.5, 1.0, 2.0, 2.0]
    assert options.lr_at(15, 20) == 1.0
    assert options.lr_at(19, 20) == pytest.approx(0.2)
    assert LearnerOptions(lr=2.0).lr_at(19, 20) == 2.0


def test_the_batch_is_cut_into_streams() -> None:
    assert Run(global_batch=8, micro_batch=2).num_streams == 4


def test_the_paper_s_numbers_stand_in_its_recipe() -> None:
    """Source: LongLive, appendix on training, and the released config."""
    recipe = Recipe.read("longlive-1.3b-64gpu", "streaming")
    said: dict[str, Any] = {
        "clip": recipe.sequences.clip,
        "new": recipe.sequences.new_latents,
        "longest": recipe.sequences.max_latents,
        "lr": (recipe.generator.lr, recipe.critic.lr),
        "betas": recipe.generator.betas,
        "rank": (recipe.generator.lora_rank, recipe.critic.lora_rank),
        "batch": (recipe.run.global_batch, recipe.run.micro_batch),
        "steps": (recipe.run.steps, recipe.run.generator_every),
        "clipped": (recipe.generator.clip, recipe.critic.clip),
        "guidance": recipe.distillation.guidance,
        "ema": recipe.generator.ema,
    }
    assert said == {
        "clip": 21, "new": 18, "longest": 240, "lr": (1e-5, 2e-6), "betas": (0.0, 0.999), "rank": (256, 256),
        "batch": (64, 1), "steps": (3000, 5), "clipped": (10.0, 10.0), "guidance": 4.0, "ema": 0.0,
    }  # fmt: skip
