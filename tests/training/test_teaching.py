"""The stages with given targets: trajectories are solved once, and dropped prompts become negative ones."""

from pathlib import Path

import torch

from longlive.training.data.clips import CleanClip
from longlive.training.processes import Processes
from longlive.training.setup import new_stage
from longlive.training.teaching import InitStage, TeacherStage
from tests.support.tiny_recipe import PROMPTS, tiny_recipe


class RandomClips:
    """Clips of noise, by seed and index."""

    def clip_at(self, seed: int, index: int) -> CleanClip:
        rng = torch.Generator().manual_seed(1000 * seed + index)
        return CleanClip(torch.randn(6, 4, 4, 6, generator=rng), PROMPTS[index % len(PROMPTS)])


def test_trajectories_are_solved_once_and_read_again(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_folder, tmp_path)
    stage = new_stage("init", recipe, Processes(), folder=tmp_path / "run")
    assert isinstance(stage, InitStage)
    files = sorted((tmp_path / "run/pairs").iterdir())
    assert [path.name for path in files] == ["000000.safetensors", "000001.safetensors"]
    files[1].unlink()
    kept = files[0].stat().st_mtime_ns
    stage.solve(Processes())
    assert sorted((tmp_path / "run/pairs").iterdir()) == files
    assert files[0].stat().st_mtime_ns == kept
    assert stage.train(0)["generator_loss"] > 0
    assert stage.prompts() and set(stage.prompts()) <= set(PROMPTS)


def test_dropped_prompts_become_the_negative_one(tiny_folder: Path, tmp_path: Path) -> None:
    for drop, expected in ((0.0, {PROMPTS[0], PROMPTS[1]}), (1.0, {"blurry"})):
        recipe = tiny_recipe(
            tiny_folder, tmp_path, teaching={"drop": drop}, data={"negative_prompt": "blurry"}
        )
        stage = new_stage("teacher", recipe, Processes(), folder=tmp_path, clips=RandomClips())
        assert isinstance(stage, TeacherStage)
        stage.train(0)
        assert set(stage.prompts()) == expected
