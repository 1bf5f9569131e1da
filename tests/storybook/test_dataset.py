"""Shards are divided among the processes, and are read back as they were encoded."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from longlive.storybook import dataset
from longlive.storybook.codec import new_codec
from longlive.storybook.dataset import encode_shard, load_dataset, make_dataset, random_turn
from longlive.storybook.world.drawing import is_held_out, random_scene
from longlive.training.processes import Processes


def test_each_process_writes_the_missing_ones_of_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "encode_shard", partial(encode_shard, size=1))
    new_codec().save_pretrained(tmp_path / "vae")
    for rank, names in ((0, ["0000", "0002"]), (1, ["0000", "0001", "0002"])):
        make_dataset(
            tmp_path / "clips", num_shards=3, processes=Processes(rank, 2), codec_folder=tmp_path / "vae"
        )
        found = sorted(path.name for path in (tmp_path / "clips").iterdir())
        assert found == [f"shard-{name}.safetensors" for name in names]
    first = (tmp_path / "clips/shard-0000.safetensors").read_bytes()
    make_dataset(tmp_path / "clips", num_shards=3, processes=Processes(), codec_folder=tmp_path / "vae")
    assert (tmp_path / "clips/shard-0000.safetensors").read_bytes() == first
    clips = load_dataset(tmp_path / "clips")
    assert sum(len(part.scenes) for part in clips.values()) == 3
    for turn, part in clips.items():
        assert part.latents.shape == (len(part.scenes), 21, 32, 10, 16)
        assert part.latents.dtype == torch.float16
        assert part.weights.any() and not part.weights.all()
        assert all(len(scenes) == (2 if turn else 1) for scenes in part.scenes)


def test_a_switch_is_always_to_another_scene_that_training_may_see() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        scene = random_scene(rng)
        turned = random_turn(scene, rng)
        assert turned.attributes != scene.attributes and not is_held_out(turned)
