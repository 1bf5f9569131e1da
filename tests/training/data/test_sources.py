"""Prompts and clips come from named sources, or else from files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from longlive import ConfigError, ModelBundle
from longlive.training.data.clips import CleanClip, ShardedClips
from longlive.training.data.prompt_files import ListedPrompts
from longlive.training.data.sources import DataSources
from longlive.training.recipe import DataOptions


class OneClip:
    def clip_at(self, seed: int, index: int) -> CleanClip:
        return CleanClip(torch.zeros(1, 1, 1, 1), "one")


def test_a_name_that_is_given_goes_before_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("from the file\n")
    sources = DataSources({"mine": lambda: ListedPrompts(["from the source"])})
    assert sources.open_prompts(DataOptions(prompts="mine")).prompt_at(0, 0) == "from the source"
    read = sources.open_prompts(DataOptions(prompts=str(tmp_path / "prompts.txt")))
    assert read.prompt_at(0, 0) == "from the file"
    with pytest.raises(ConfigError, match="cannot be read"):
        DataSources().open_prompts(DataOptions(prompts="mine"))


def test_the_files_of_a_folder_decide_who_reads_its_clips(tmp_path: Path, tiny_models: ModelBundle) -> None:
    latents = torch.zeros(1, 6, 4, 4, 6)
    save_file({"latents": latents}, tmp_path / "a.safetensors", {"prompts": json.dumps(["plain"])})
    sources = DataSources(clips={"special-*.safetensors": lambda folder, vae: OneClip()})
    options = DataOptions(clips=str(tmp_path))
    assert isinstance(sources.open_clips(options, tiny_models.vae), ShardedClips)
    (tmp_path / "special-0.safetensors").touch()
    assert isinstance(sources.open_clips(options, tiny_models.vae), OneClip)


def test_a_teacher_without_clips_is_refused(tiny_models: ModelBundle) -> None:
    with pytest.raises(ConfigError, match=r"data\.clips"):
        DataSources().open_clips(DataOptions(), tiny_models.vae)
