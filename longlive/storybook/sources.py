"""Training data of the storybook world for ``longlive.training``: prompts and clean clips."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.errors import ConfigError
from longlive.models.wan_vae import latent_statistics
from longlive.storybook.dataset import load_dataset, random_turn
from longlive.storybook.third_edition import clips as third_clips
from longlive.storybook.third_edition.world import captions as third_captions
from longlive.storybook.third_edition.world import scene as third_scene
from longlive.storybook.world.captions import caption
from longlive.storybook.world.drawing import random_scene
from longlive.training.data.clips import CleanClip
from longlive.training.data.prompt_files import PromptPair
from longlive.training.data.sources import DataSources

PROMPT_STREAM, CLIP_STREAM = 7, 8
"""Streams of the random numbers, next to the seed."""
LATEST_TURN = 1
"""Clips whose second scene begins after this chunk are left out: they show two scenes."""


@dataclass(frozen=True)
class World:
    """What an edition's prompts are made of.

    Attributes:
        random_scene: of a combination for training.
        random_turn: a scene to switch to.
        caption: one of the many ways to ask for a scene, with or without ``complete``.
    """

    random_scene: Callable[[np.random.Generator], Any]
    random_turn: Callable[[Any, np.random.Generator], Any]
    caption: Callable[..., str]


SECOND_EDITION = World(random_scene, random_turn, caption)
THIRD_EDITION = World(third_scene.random_scene, third_scene.random_turn, third_captions.caption)


@dataclass(frozen=True)
class StorybookPrompts:
    """Captions of random scenes, each with the caption of a scene to switch to; drawn by seed and index.

    Combinations of attributes that are held out for evaluation are never drawn.

    Attributes:
        complete_share: share of pairs, in [0, 1], that name every attribute without spelling mistakes.
        world: of the edition.
    """

    complete_share: float = 0.5
    world: World = SECOND_EDITION

    def prompt_at(self, seed: int, index: int) -> str:
        """The prompt of sample ``index`` (0, 1, …) of the run ``seed``."""
        return self.pair_at(seed, index).prompt

    def pair_at(self, seed: int, index: int) -> PromptPair:
        """The same prompt, with the one to switch to."""
        rng = np.random.default_rng([seed, PROMPT_STREAM, index])
        complete = bool(rng.random() < self.complete_share)
        world = self.world
        scene = world.random_scene(rng)
        turned = world.random_turn(scene, rng)
        return PromptPair(
            world.caption(scene, rng, complete=complete), world.caption(turned, rng, complete=complete)
        )


@dataclass(frozen=True)
class StorybookClips:
    """Encoded clips of one scene (or with a switch to it after the first chunk), with newly worded captions.

    Attributes:
        latents: raw, (N, F, C, H, W), float16.
        scenes: the scene at the end of each clip.
        mean, std: of the raw latents' channels, (C, 1, 1).
        world: of the edition.
    """

    latents: Tensor
    scenes: list[Any]
    mean: Tensor
    std: Tensor
    world: World = SECOND_EDITION

    @classmethod
    def read(cls, folder: str | Path, vae: AutoencoderKLWan) -> "StorybookClips":
        """Read the single-scene clips among the shards of ``make_dataset``; ConfigError if there are none."""
        parts = [clips for turn, clips in load_dataset(Path(folder)).items() if turn <= LATEST_TURN]
        if not parts:
            raise ConfigError("clips", str(folder), "no shard shows a single scene", "Make more shards.")
        mean, std = latent_statistics(vae, torch.zeros(()))
        scenes = [story[-1] for part in parts for story in part.scenes]
        return cls(torch.cat([part.latents for part in parts]), scenes, mean, std)

    @classmethod
    def read_third_edition(cls, folder: str | Path, vae: AutoencoderKLWan) -> "StorybookClips":
        """Read the shards of ``third_edition.clips``."""
        latents, scenes = third_clips.read_shards(Path(folder))
        return cls(latents, scenes, *latent_statistics(vae, torch.zeros(())), THIRD_EDITION)

    def clip_at(self, seed: int, index: int) -> CleanClip:
        """The clip of sample ``index`` (0, 1, …) of the run ``seed``."""
        rng = np.random.default_rng([seed, CLIP_STREAM, index])
        chosen = int(rng.integers(len(self.scenes)))
        latents = (self.latents[chosen].float() - self.mean) / self.std
        return CleanClip(latents, self.world.caption(self.scenes[chosen], rng))


SOURCES = DataSources(
    {"storybook": StorybookPrompts, "storybook-third": partial(StorybookPrompts, world=THIRD_EDITION)},
    {
        "shard-*.safetensors": StorybookClips.read,
        third_clips.PATTERN: StorybookClips.read_third_edition,
    },
)
"""Pass them to ``longlive.training.setup.new_stage``."""
