"""The commands: a stage trained from a file, a plan, a LoRA merged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longlive import load_models
from longlive.cli.main import main
from longlive.training.lora import read_lora
from tests.support.tiny_recipe import tiny_tables, toml_of

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def recipe(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny recipe as a file, with a LoRA on the generator."""
    path = tmp_path / "recipe.toml"
    tables = tiny_tables(tiny_folder, tmp_path, generator={"lora_rank": 4, "lora_alpha": 8, "ema": 0.0})
    path.write_text(toml_of(tables))
    return path


def train(recipe: Path, folder: Path, *more: str, stage: str = "streaming") -> int:
    return main(["train", stage, "--config", str(recipe), "--folder", str(folder), *more])


def test_a_trained_lora_merges_into_the_model_that_the_run_left(
    recipe: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(recipe, tmp_path / "run", "--steps", "2", "--set", "generator.lr=0.01") == 0
    assert "memory of each process" in capsys.readouterr().err
    lora, scale = read_lora(tmp_path / "run/lora.safetensors")
    assert scale == 2.0
    assert any(value.abs().max() > 0 for name, value in lora.items() if "lora_B" in name)
    options = ["--base", str(tiny_folder), "--lora", str(tmp_path / "run/lora.safetensors")]
    assert main(["merge-lora", *options, "--out", str(tmp_path / "merged")]) == 0
    merged, left = load_file(tmp_path / "merged" / WEIGHTS), load_file(tmp_path / "run/model" / WEIGHTS)
    base = load_file(tiny_folder / WEIGHTS)
    assert all(torch.equal(value, left[name]) for name, value in merged.items())
    assert not torch.equal(base["blocks.0.attn1.to_q.weight"], merged["blocks.0.attn1.to_q.weight"])
    assert load_models(tmp_path / "merged").config == load_models(tiny_folder).config


def test_the_same_command_goes_on_where_it_ended(recipe: Path, tmp_path: Path) -> None:
    assert train(recipe, tmp_path / "run", "--steps", "1") == 0
    assert train(recipe, tmp_path / "run", "--steps", "2") == 0
    lines = [json.loads(line)["step"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines == [1, 2]


def test_a_dry_run_prints_one_json_object_and_trains_nothing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(recipe, tmp_path / "run", "--dry-run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["parameters"]["generator"]["trainable"] == 2 * 4 * (8 * 2 * 24 + 2 * (24 + 48))
    assert {"generator_step", "critic_step"} == set(planned["flops_per_sample"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--set", "run.step=3"), "Did you mean 'steps'"),
        (("--set", "steps"), "--set is 'steps'"),
        (("--set", "models.teacher=gone"), "There is no model 'gone'"),
        (("--set", "data.prompts=gone.txt"), "gone.txt"),
        (("--set", "stream.window=4"), "window is 4"),
        (("--set", "stream.windows=6"), "windows is 6"),
        (("--steps", "-1"), "steps is -1"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_2(
    more: tuple[str, ...], words: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(recipe, tmp_path / "run", *more) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("longlive: ")
    assert words in error


def test_a_teacher_needs_clips(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(recipe, tmp_path / "run", stage="teacher") == 2
    assert "a teacher learns from clean clips" in capsys.readouterr().err


def test_as_released_reaches_the_losses(recipe: Path, tmp_path: Path) -> None:
    assert train(recipe, tmp_path / "ours", "--steps", "1") == 0
    assert train(recipe, tmp_path / "theirs", "--steps", "1", "--as-released") == 0
    ours, theirs = (json.loads((tmp_path / run / "log.jsonl").read_text()) for run in ("ours", "theirs"))
    assert ours["generator_loss"] != theirs["generator_loss"]
