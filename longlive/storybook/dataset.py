"""Clips of the world as latents, encoded once and read many times.

A clip has ``NUM_CHUNKS`` chunks. Its story may turn at one chunk border. A batch holds clips that turn at the
same border, so shards do too (0: no turn).
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longlive.storybook.codec import encode_clip
from longlive.storybook.world.drawing import (
    ACTIONS,
    COLOURS,
    SETTINGS,
    SHAPES,
    START_X,
    Scene,
    draw_story,
    is_held_out,
    random_scene,
    story_motion,
    subject_cells,
)
from longlive.storybook.world.weather import WEATHERS

CHUNK = 3
NUM_CHUNKS = 7
SHARD_CLIPS = 40
TURNS = (0, 2, 3, 4, 5, 6)
TURN_KINDS = {"action": 0.58, "setting": 0.12, "weather": 0.10, "colour": 0.08, "shape": 0.05, "all": 0.07}
TURN_SHARES = (0.40, 0.10, 0.10, 0.12, 0.14, 0.14)


def frames_before(chunk: int) -> int:
    """Pictures before a chunk: the first chunk has 9, later ones 12."""
    return 0 if chunk == 0 else 12 * chunk - 3


@dataclass(frozen=True)
class Clips:
    """Clips whose stories turn at the same chunk.

    Attributes:
        turn: the chunk at which the second scene begins; 0 if there is only one.
        latents: raw, (N, 21, 32, 10, 16), float16.
        weights: of the loss per latent cell, (N, 21, 10, 16): the subject's cells count more.
        scenes: per clip one or two scenes.
    """

    turn: int
    latents: Tensor
    weights: Tensor
    scenes: list[tuple[Scene, ...]]


def random_turn(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another scene to turn to: mostly another action, sometimes another look or place as well."""
    while True:
        kind = rng.choice(list(TURN_KINDS), p=list(TURN_KINDS.values()))
        if kind == "all":
            turned = random_scene(rng)
        elif kind == "action":
            turned = replace(scene, action=ACTIONS[rng.integers(len(ACTIONS))])
        else:
            values = {"setting": SETTINGS, "colour": COLOURS, "shape": SHAPES, "weather": WEATHERS}[kind]
            turned = replace(scene, **{str(kind): values[rng.integers(len(values))]})  # type: ignore[arg-type]
        if turned.attributes != scene.attributes and not is_held_out(turned):
            return turned


def encode_shard(
    codec: AutoencoderKLWan, turn: int, rng: np.random.Generator, *, size: int = SHARD_CLIPS
) -> Clips:
    """Draw and encode one shard."""
    total, border = frames_before(NUM_CHUNKS), frames_before(turn)
    stories: list[tuple[Scene, ...]] = []
    pictures, weights = [], []
    for _ in range(size):
        scene = random_scene(rng)
        scenes = (scene, random_turn(scene, rng)) if turn else (scene,)
        parts = list(zip(scenes, (border, total - border) if turn else (total,), strict=True))
        x = float(rng.uniform(*START_X))
        stories.append(scenes)
        pictures.append(draw_story(parts, rng, start_x=x))
        cells = subject_cells(story_motion(parts, x))
        later = cells[1:].reshape(-1, 4, *cells.shape[1:]).any(1)
        weights.append(np.concatenate([cells[:1], later]))
    latents = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for clip in pictures:
            latents.append(
                encode_clip(codec, clip.transpose(0, 1)[None].float() / 127.5 - 1)[0].transpose(0, 1).half()
            )
    return Clips(turn, torch.stack(latents), torch.from_numpy(np.stack(weights)), stories)


def make_dataset(
    folder: Path, *, num_shards: int, rank: int = 0, num_workers: int = 1, seed: int = 0, codec_folder: Path
) -> None:
    """Write the shards that are still missing."""
    folder.mkdir(parents=True, exist_ok=True)
    codec = AutoencoderKLWan.from_pretrained(codec_folder).eval()
    turns = np.random.default_rng([seed, 5]).choice(TURNS, size=num_shards, p=TURN_SHARES)
    for index in range(rank, num_shards, num_workers):
        path = folder / f"shard-{index:04d}.safetensors"
        if not path.exists():
            clips = encode_shard(codec, int(turns[index]), np.random.default_rng([seed, 6, index]))
            stories = json.dumps([[asdict(scene) for scene in story] for story in clips.scenes])
            tensors = {"latents": clips.latents.contiguous(), "weights": clips.weights.to(torch.uint8)}
            save_file(
                tensors, path.with_suffix(".tmp"), metadata={"turn": str(clips.turn), "stories": stories}
            )
            path.with_suffix(".tmp").rename(path)


def load_dataset(folder: Path) -> dict[int, Clips]:
    """All shards of a folder, joined by the chunk at which they turn."""
    parts: dict[int, list[Clips]] = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
            stories = [tuple(Scene(**scene) for scene in story) for story in json.loads(facts["stories"])]
            clips = Clips(
                int(facts["turn"]), file.get_tensor("latents"), file.get_tensor("weights").bool(), stories
            )
        parts.setdefault(clips.turn, []).append(clips)
    return {turn: _join(turn, shards) for turn, shards in parts.items()}


def _join(turn: int, shards: list[Clips]) -> Clips:
    latents = torch.cat([shard.latents for shard in shards])
    weights = torch.cat([shard.weights for shard in shards])
    return Clips(turn, latents, weights, [story for shard in shards for story in shard.scenes])
