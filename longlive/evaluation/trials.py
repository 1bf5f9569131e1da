"""What the evaluations ask for: scenes with prompts, and their true pictures through the codec."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.models.decoder import StreamingDecoder
from longlive.models.wan_vae import encode_pictures
from longlive.storybook.world.captions import caption
from longlive.storybook.world.drawing import (
    ACTIONS,
    COLOURS,
    FPS,
    SETTINGS,
    Scene,
    draw_story,
    random_scene,
)

ATTRIBUTES = ("setting", "shape", "colour", "action", "weather")
SKIPPED_FRAMES = 9
"""Pictures of the first chunk, in which a video may still settle; they are not scored."""

CHANGES: tuple[dict[str, tuple[str, ...]], ...] = (
    {"action": ACTIONS},
    {"action": ACTIONS},
    {"action": ACTIONS},
    {"action": ACTIONS, "setting": SETTINGS},
    {"action": ACTIONS, "colour": COLOURS},
)
"""What changes at the switch of every fifth trial, and the values that it may change to."""


@dataclass(frozen=True)
class Trial:
    """A scene and the scene that it switches to, with a prompt for each."""

    scene: Scene
    turned: Scene
    prompt: str
    turned_prompt: str


@dataclass(frozen=True)
class SingleScene:
    """A scene without a switch, its prompt, and the seed of its video."""

    scene: Scene
    prompt: str
    seed: int


def draw_trials(count: int, seed: int) -> list[Trial]:
    """Trials that switch the action; a fifth of the scenes are combinations that training never saw."""
    rng = np.random.default_rng([seed, 10])
    trials = []
    for index in range(count):
        scene = random_scene(rng, held_out=index % 5 == 0)
        others = [replace(scene, action=action) for action in ACTIONS if action != scene.action]
        turned = others[rng.integers(len(others))]
        trials.append(_new_trial(scene, turned, rng))
    return trials


def draw_switches(count: int, seed: int) -> list[Trial]:
    """Trials that switch the action, two fifths of them the setting or colour as well."""
    rng = np.random.default_rng([seed, 20])
    trials = []
    for index in range(count):
        scene = random_scene(rng)
        changes = {
            name: str(rng.choice([value for value in values if value != getattr(scene, name)]))
            for name, values in CHANGES[index % len(CHANGES)].items()
        }
        trials.append(_new_trial(scene, replace(scene, **changes), rng))
    return trials


def draw_single_scenes(count: int, seed: int) -> list[SingleScene]:
    """Random scenes without a switch."""
    rng, scenes = np.random.default_rng([seed, 21]), []
    for index in range(count):
        scene = random_scene(rng)
        scenes.append(SingleScene(scene, caption(scene, rng, complete=True), seed * 100_003 + index))
    return scenes


def changed_attributes(trial: Trial) -> tuple[str, ...]:
    """The attributes that the new prompt changes."""
    return tuple(name for name in ATTRIBUTES if getattr(trial.scene, name) != getattr(trial.turned, name))


def true_pictures(vae: AutoencoderKLWan, scenes: list[tuple[Scene, int]], seed: int) -> Tensor:
    """Drawn pictures of (scene, number of pictures) in order, through the codec: uint8 (F, 3, H, W)."""
    return through_codec(vae, draw_story(scenes, np.random.default_rng([seed, 22])))


@torch.no_grad()
def through_codec(vae: AutoencoderKLWan, pictures: Tensor) -> Tensor:
    """Encode and decode pictures, uint8 (F, 3, H, W)."""
    latents = encode_pictures(vae, pictures[None].float() / 127.5 - 1)
    decoded = StreamingDecoder(vae, FPS).decode_latents(latents)[0]
    return ((decoded + 1) * 127.5).round().to(torch.uint8)


def _new_trial(scene: Scene, turned: Scene, rng: np.random.Generator) -> Trial:
    first, second = caption(scene, rng, complete=True), caption(turned, rng, complete=True)
    return Trial(scene, turned, first, second)
