"""How well a video that begins with a drawn picture, or goes on from a drawn clip, follows its prompt."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longlive.evaluation.statistics import share
from longlive.evaluation.trials import ATTRIBUTES, SingleScene, draw_single_scenes
from longlive.evaluation.workers import cached_models, map_in_workers
from longlive.generation.session import Session
from longlive.models.bundle import ModelBundle
from longlive.storybook.world.drawing import Scene, draw_story
from longlive.storybook.world.oracle import Reading, read

STARTS = ("nothing", "picture", "clip")
NUM_CHUNKS, READ_FRAMES, CLIP_FRAMES = 9, 60, 60

DEFINITIONS = {
    "nothing": "The video begins with its prompt alone.",
    "picture": "It begins with a drawing of the scene in which the subject stands still.",
    "clip": "It goes on from a drawn clip of the scene, in which the subject acts already.",
    "score": f"% of videos whose attribute is read as asked for in the last {READ_FRAMES} pictures of "
    f"{NUM_CHUNKS} chunks.",
    "one_subject": "% of videos in which the oracle counts exactly one subject.",
}


def compare_starts(models: ModelBundle, *, num_prompts: int, seed: int, num_workers: int) -> dict[str, Any]:
    """Scores in [0, 100] of the same scenes and noise, by what the videos begin with."""
    scenes = draw_single_scenes(num_prompts, seed)
    read_scene = partial(_read_scene, models) if num_workers == 1 else partial(_load_and_read, models.folder)
    found = list(map_in_workers(read_scene, scenes, num_workers, "scenes"))
    rows = []
    for number, start in enumerate(STARTS):
        readings = [readings[number] for readings in found]
        hits = {
            name: [
                getattr(one, name) == getattr(s.scene, name) for one, s in zip(readings, scenes, strict=True)
            ]
            for name in ATTRIBUTES
        } | {"one_subject": [one.has_one_subject for one in readings]}
        rows.append({"start": start} | {name: share(row).times(100).as_json() for name, row in hits.items()})
    return {"starts": rows}


def _load_and_read(folder: Path, scene: SingleScene) -> list[Reading]:
    return _read_scene(cached_models(folder), scene)


def _read_scene(models: ModelBundle, single: SingleScene) -> list[Reading]:
    """What is seen at the end of its video, for each of STARTS."""
    still = _drawn(replace(single.scene, action="stand"), 1, single.seed)
    starts = (None, still, _drawn(single.scene, CLIP_FRAMES, single.seed))
    readings = []
    for start in starts:
        with Session(models, single.prompt, seed=single.seed, start=start) as session:
            chunks = [session.next_chunk().frames for _ in range(NUM_CHUNKS)]
        pictures = torch.from_numpy(np.concatenate(chunks)[-READ_FRAMES:])
        readings.append(read(pictures.permute(0, 3, 1, 2)))
    return readings


def _drawn(scene: Scene, num_frames: int, seed: int) -> np.ndarray:
    """Drawn pictures, uint8 (F, H, W, 3)."""
    drawn = draw_story([(scene, num_frames)], np.random.default_rng([seed, 23]))
    return drawn.permute(0, 2, 3, 1).contiguous().numpy()
