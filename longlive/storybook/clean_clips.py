"""Clean clips of the picture-book world, for teachers: encoded stories with freshly worded captions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.errors import ConfigError
from longlive.models.wan_vae import latent_statistics
from longlive.storybook.dataset import load_dataset
from longlive.storybook.world.captions import caption
from longlive.storybook.world.drawing import Scene
from longlive.training.data.clips import CleanClip

STREAM = 8
LATEST_TURN = 1


@dataclass(frozen=True)
class StorybookClips:
    """Clips that show one scene, or turn to it after the first chunk, as after a switch of the prompt.

    Attributes:
        latents: raw, (N, F, C, H, W), float16.
        scenes: what each shows, at its end.
        mean, std: of the raw latents' channels, (C, 1, 1).
    """

    latents: Tensor
    scenes: list[Scene]
    mean: Tensor
    std: Tensor

    @classmethod
    def read(cls, folder: str | Path, vae: AutoencoderKLWan) -> "StorybookClips":
        """All clips of ``make_dataset``'s shards that fit; ConfigError if there are none."""
        parts = [clips for turn, clips in load_dataset(Path(folder)).items() if turn <= LATEST_TURN]
        if not parts:
            raise ConfigError("clips", str(folder), "no shard shows a single scene", "Make more shards.")
        mean, std = latent_statistics(vae, torch.zeros(()))
        scenes = [story[-1] for part in parts for story in part.scenes]
        return cls(torch.cat([part.latents for part in parts]), scenes, mean, std)

    def clip_at(self, seed: int, index: int) -> CleanClip:
        """The clip of sample ``index`` (0, 1, …) of the run ``seed``."""
        rng = np.random.default_rng([seed, STREAM, index])
        chosen = int(rng.integers(len(self.scenes)))
        latents = (self.latents[chosen].float() - self.mean) / self.std
        return CleanClip(latents, caption(self.scenes[chosen], rng))
