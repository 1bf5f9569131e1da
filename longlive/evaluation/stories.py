"""The stories that the tables are made of: what is asked for, the telling, and the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.config import StreamConfig
from longlive.evaluation.obedience import ATTRIBUTES, BatchTeller, Trial, through_codec
from longlive.models.bundle import ModelBundle
from longlive.models.kv_cache import KVCache
from longlive.storybook.world.captions import caption
from longlive.storybook.world.drawing import ACTIONS, COLOURS, SETTINGS, Scene, draw_story, random_scene

CHANGES: tuple[dict[str, tuple[str, ...]], ...] = (
    {"action": ACTIONS},
    {"action": ACTIONS},
    {"action": ACTIONS},
    {"action": ACTIONS, "setting": SETTINGS},
    {"action": ACTIONS, "colour": COLOURS},
)
"""What changes at the switch of every fifth story, and the values that it may change to."""


@dataclass(frozen=True)
class Take:
    """One prompt to be told at length, its scene and its seed."""

    scene: Scene
    prompt: str
    seed: int


class StreamTeller(BatchTeller):
    """A teller with choices of its own for the stream, by the names of StreamConfig."""

    def __init__(
        self, models: ModelBundle, prompts: Sequence[str], seeds: Sequence[int], **stream: Any
    ) -> None:
        """As BatchTeller; ``stream`` on top of what the model was tuned with."""
        super().__init__(models, prompts, seeds)
        config = models.config
        self.stream = StreamConfig.of(config, **stream)
        self.cache = KVCache(config.transformer, self.stream, config.tokens_per_latent, batch=len(prompts))


def draw_switches(count: int, seed: int) -> list[Trial]:
    """Scenes that turn to another action, two fifths of them to another setting or colour as well."""
    rng = np.random.default_rng([seed, 20])
    trials = []
    for index in range(count):
        scene = random_scene(rng)
        turns = {
            name: str(rng.choice([value for value in values if value != getattr(scene, name)]))
            for name, values in CHANGES[index % len(CHANGES)].items()
        }
        turned = replace(scene, **turns)
        words = caption(scene, rng, complete=True), caption(turned, rng, complete=True)
        trials.append(Trial(scene, turned, *words))
    return trials


def draw_takes(count: int, seed: int) -> list[Take]:
    """Scenes that stay."""
    rng, takes = np.random.default_rng([seed, 21]), []
    for index in range(count):
        scene = random_scene(rng)
        takes.append(Take(scene, caption(scene, rng, complete=True), seed * 100_003 + index))
    return takes


def changed(trial: Trial) -> tuple[str, ...]:
    """The attributes that the new prompt changes."""
    return tuple(name for name in ATTRIBUTES if getattr(trial.scene, name) != getattr(trial.turned, name))


def true_story(vae: AutoencoderKLWan, scenes: list[tuple[Scene, int]], seed: int) -> Tensor:
    """The true pictures of scenes that last so many pictures, through the codec: uint8 (F, 3, H, W)."""
    return through_codec(vae, draw_story(scenes, np.random.default_rng([seed, 22])))
