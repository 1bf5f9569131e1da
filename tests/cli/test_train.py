"""The commands: a stage trained from a file, a plan, a LoRA merged."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from longlive import load_models
from longlive.cli import main
from longlive.cli.train import STAGES
from longlive.training.recipe import STAGES as RECIPE_STAGES
from longlive.weights.conversion import write_transformer
from longlive.weights.formats.lora_files import LoraFile
from longlive.weights.formats.lora_reading import read_lora
from longlive.weights.layout import ModelFolder
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
    lora = read_lora(tmp_path / "run/lora.safetensors")
    assert {pair.scale for pair in lora.values()} == {2.0}
    assert any(pair.up.abs().max() > 0 for pair in lora.values())
    options = ["--base", str(tiny_folder), "--lora", str(tmp_path / "run/lora.safetensors")]
    assert main(["merge-lora", *options, "--out", str(tmp_path / "merged")]) == 0
    merged, left = load_file(tmp_path / "merged" / WEIGHTS), load_file(tmp_path / "run/model" / WEIGHTS)
    base = load_file(tiny_folder / WEIGHTS)
    assert all(torch.equal(value, left[name]) for name, value in merged.items())
    assert not torch.equal(base["blocks.0.attn1.to_q.weight"], merged["blocks.0.attn1.to_q.weight"])
    assert load_models(tmp_path / "merged").config == load_models(tiny_folder).config


@pytest.mark.parametrize("scale", ["nan", "inf"])
@pytest.mark.parametrize(
    "command",
    ["merge-lora --base x --lora gone --out new --scale", "fetch longlive --lora lora --lora-scale"],
)
def test_a_scale_that_is_not_finite_is_refused(
    command: str,
    scale: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora").touch()
    assert main([*command.split(), scale]) == 2
    assert f"--lora-scale is {scale}, but it must be a finite number" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "scale"), [([], "scale 2"), (["--lora-scale", "0.5"], "scale 0.5 as given")]
)
@pytest.mark.parametrize("given", ["peft", "peft/adapter_model.safetensors", "kohya.safetensors"])
def test_merging_and_fetching_read_one_file_alike(
    given: str,
    options: list[str],
    scale: str,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = load_file(tiny_folder / WEIGHTS)
    out, into = base["blocks.0.attn1.to_q.weight"].shape
    down, up = torch.ones(4, into), torch.ones(out, 4)
    (tmp_path / "peft").mkdir()
    peft, kohya = "base_model.model.blocks.0.attn1.to_q", "lora_unet_blocks_0_self_attn_q"
    save_file(
        {f"{peft}.lora_A.weight": down, f"{peft}.lora_B.weight": up},
        tmp_path / "peft/adapter_model.safetensors",
    )
    (tmp_path / "peft/adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    entries = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(8.0)}
    save_file({f"{kohya}.{name}": entry for name, entry in entries.items()}, tmp_path / "kohya.safetensors")

    lora, target = tmp_path / given, tmp_path / "merged"
    arguments = ["--base", str(tiny_folder), "--lora", str(lora), "--out", str(target)]
    assert main(["merge-lora", *arguments, *options]) == 0
    merged, lines = load_file(target / WEIGHTS), [capsys.readouterr().err]
    write_transformer(
        tmp_path / "fetched.safetensors",
        ModelFolder.read(tiny_folder).config.transformer,
        tiny_folder / WEIGHTS,
        [LoraFile(lora, scale=float(options[1]) if options else None)],
        dtype=merged["proj_out.weight"].dtype,
        progress=lines.append,
    )
    fetched = load_file(tmp_path / "fetched.safetensors")
    assert all(torch.equal(tensor, fetched[name]) for name, tensor in merged.items())
    assert not torch.equal(merged["blocks.0.attn1.to_q.weight"], base["blocks.0.attn1.to_q.weight"])
    assert all("1 pair of rank 4, alpha 8" in line and scale in line for line in lines)


def test_the_same_command_goes_on_where_it_ended(recipe: Path, tmp_path: Path) -> None:
    assert train(recipe, tmp_path / "run", "--steps", "1") == 0
    assert train(recipe, tmp_path / "run", "--steps", "2") == 0
    lines = [json.loads(line)["step"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines == [1, 2]


@pytest.mark.slow
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


@pytest.mark.slow
def test_as_released_reaches_the_losses(recipe: Path, tmp_path: Path) -> None:
    assert train(recipe, tmp_path / "ours", "--steps", "1") == 0
    assert train(recipe, tmp_path / "theirs", "--steps", "1", "--as-released") == 0
    ours, theirs = (json.loads((tmp_path / run / "log.jsonl").read_text()) for run in ("ours", "theirs"))
    assert ours["generator_loss"] != theirs["generator_loss"]


def test_there_is_a_command_for_every_stage_of_a_recipe() -> None:
    assert tuple(STAGES) == RECIPE_STAGES


def test_the_storybook_recipe_runs_its_stages_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, int]] = []

    def run_in_processes(job: Callable[..., None], workers: int, options: dict[str, object]) -> None:
        ran.append((job.__name__, workers))

    monkeypatch.setattr("longlive.storybook.workers.run_in_processes", run_in_processes)
    options = ["--folder", str(tmp_path), "--workers", "3", "--stages", "generator", "codec"]
    assert main(["train", "storybook", *options]) == 0
    assert ran == [("train_codec", 3), ("train_generator", 3)]
    assert main(["train", "storybook", "--workers", "0"]) == 2
    assert "workers is 0" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["train", "storybook", "--folder", str(tmp_path), "--out", str(tmp_path / "file")]) == 2
    assert "no folder can be made there" in capsys.readouterr().err
    assert len(ran) == 2, "nothing was trained"
