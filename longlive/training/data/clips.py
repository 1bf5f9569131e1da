"""Clean clips for teachers: latents with a prompt, drawn by seed and index."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longlive.errors import ConfigError, reason_of

PATTERN = "*.safetensors"


class CleanClip(NamedTuple):
    """Normalised latents (F, C, H, W), float32, and the prompt that describes them."""

    latents: Tensor
    prompt: str


class CleanClips(Protocol):
    """A source of clips, without state: seed and index determine the clip."""

    def clip_at(self, seed: int, index: int) -> CleanClip:
        """The clip of sample ``index`` (0, 1, …) of the run ``seed``."""
        ...


@dataclass(frozen=True)
class ShardedClips:
    """The clips of a folder of safetensors files, each drawn at random.

    A shard holds ``latents``, normalised, (N, F, C, H, W) in any float dtype, and N prompts as a JSON list
    under ``prompts`` in its metadata.
    """

    latents: Tensor
    prompts: list[str]

    @classmethod
    def read(cls, folder: str | Path) -> "ShardedClips":
        """Read all shards of a folder; ConfigError if there are none, or one is in another format."""
        latents, prompts = [], []
        for path in sorted(Path(folder).glob(PATTERN)):
            try:
                with safe_open(path, framework="pt") as file:
                    latents.append(file.get_tensor("latents"))
                    prompts += json.loads((file.metadata() or {})["prompts"])
            except (SafetensorError, OSError, KeyError, ValueError) as error:
                rule = f"a shard needs `latents`, and `prompts` in its metadata: {reason_of(error)}"
                raise ConfigError("clips", str(path), rule, "Write it again.") from error
        if not latents or len(prompts) != sum(map(len, latents)):
            rule = f"it holds {sum(map(len, latents))} clips and {len(prompts)} prompts"
            raise ConfigError("clips", str(folder), rule, "Give a folder of shards, a prompt for each clip.")
        return cls(torch.cat(latents), prompts)

    def clip_at(self, seed: int, index: int) -> CleanClip:
        """The clip of sample ``index`` of the run ``seed``."""
        chosen = int(np.random.default_rng([seed, 30, index]).integers(len(self.prompts)))
        return CleanClip(self.latents[chosen].float(), self.prompts[chosen])
