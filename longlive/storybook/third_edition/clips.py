"""Encoded clips of the third edition's world, each of one scene, for the teacher of ``longlive.training``.

    python -m longlive.storybook.third_edition.clips --folder runs/third --shards 40

Needs ``FOLDER/codec.safetensors`` of codec_training. Writes the shards of ``FOLDER/clips`` that are missing.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longlive.files import atomic_write
from longlive.storybook.third_edition.codec import Codec
from longlive.storybook.third_edition.codec_training import one_process, read_codec
from longlive.storybook.third_edition.world.drawing import draw_stories
from longlive.storybook.third_edition.world.scene import Scene, random_scene

PICTURES = 81
SHARD_CLIPS = 40
PATTERN = "third-*.safetensors"


@torch.no_grad()
def encode_scenes(codec: Codec, scenes: list[Scene], num_pictures: int) -> Tensor:
    """Raw latents (N, 1 + n, C, H, W), float16, of a clip of each scene with 1 + 4 n pictures."""
    device, latents = codec.mean.device, []
    for scene in scenes:
        pictures = draw_stories([[(scene, num_pictures)]], device=device).transpose(1, 2) * 2 - 1
        with torch.autocast(device.type, torch.bfloat16):
            latents.append(codec.encode(pictures).transpose(1, 2).half().cpu())
    return torch.cat(latents)


def make_shards(
    folder: Path,
    codec: Codec,
    *,
    num_shards: int,
    clips: int = SHARD_CLIPS,
    num_pictures: int = PICTURES,
    seed: int = 0,
) -> None:
    """Write the missing ones of ``num_shards`` shards of ``clips`` clips."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_shards):
        path = folder / f"third-{index:04d}.safetensors"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, 51, index])
        scenes = [random_scene(rng) for _ in range(clips)]
        latents = encode_scenes(codec, scenes, num_pictures)
        facts = {"scenes": json.dumps([asdict(scene) for scene in scenes])}
        with atomic_write(path) as part:
            save_file({"latents": latents.contiguous()}, part, metadata=facts)


def read_shards(folder: Path) -> tuple[Tensor, list[Scene]]:
    """Raw latents (N, F, C, H, W), float16, of all shards of a folder, and the scene of each clip."""
    latents, scenes = [], []
    for path in sorted(folder.glob(PATTERN)):
        with safe_open(path, framework="pt") as file:
            latents.append(file.get_tensor("latents"))
            scenes += [Scene(**scene) for scene in json.loads(file.metadata()["scenes"])]
    return torch.cat(latents), scenes


def main(arguments: list[str] | None = None) -> None:
    """Write the shards that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=40, help=f"of {SHARD_CLIPS} clips (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    codec = read_codec(options.folder, one_process().device)
    make_shards(options.folder / "clips", codec, num_shards=options.shards, seed=options.seed)


if __name__ == "__main__":
    main()
