"""Sharded clips are drawn by seed and index, and incomplete shards are refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from longlive import ConfigError
from longlive.training.data.clips import ShardedClips


def test_a_folder_of_shards_gives_its_clips_by_seed_and_index(tmp_path: Path) -> None:
    for shard in range(2):
        latents = torch.arange(3).view(3, 1, 1, 1, 1).expand(3, 6, 4, 4, 6) + 10.0 * shard
        prompts = [f"clip {number + 10 * shard}" for number in range(3)]
        save_file(
            {"latents": latents.half()}, tmp_path / f"{shard}.safetensors", {"prompts": json.dumps(prompts)}
        )
    clips = ShardedClips.read(tmp_path)
    drawn = [clips.clip_at(1, index) for index in range(30)]
    assert {clip.prompt for clip in drawn} == {f"clip {number}" for number in (0, 1, 2, 10, 11, 12)}
    assert all(clip.prompt == f"clip {int(clip.latents.mean())}" for clip in drawn)
    assert torch.equal(clips.clip_at(1, 4).latents, drawn[4].latents)


@pytest.mark.parametrize("metadata", [{}, {"prompts": "[]"}, {"prompts": "no list"}])
def test_shards_without_a_prompt_for_each_clip_are_refused(metadata: dict[str, str], tmp_path: Path) -> None:
    save_file({"latents": torch.zeros(1, 6, 4, 4, 6)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ConfigError, match="prompt"):
        ShardedClips.read(tmp_path)
