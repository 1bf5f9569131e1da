"""How well the storybook model follows its prompts: oracle scores, beside the codec's ceiling and chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.chunks import SWITCH_MODES
from longlive.evaluation.statistics import share_of
from longlive.evaluation.stream import BatchStream
from longlive.evaluation.trials import ATTRIBUTES, SKIPPED_FRAMES, Trial, draw_trials, through_codec
from longlive.evaluation.workers import cached_models, map_in_workers
from longlive.models.bundle import ModelBundle
from longlive.storybook.codec import psnr_of
from longlive.storybook.dataset import frames_before
from longlive.storybook.world.drawing import (
    ACTIONS,
    COLOURS,
    SETTINGS,
    SHAPES,
    WEATHER_SHARES,
    Scene,
    draw_story,
    is_held_out,
    random_scene,
)
from longlive.storybook.world.oracle import Reading, read

CHANCE = {
    "setting": 1 / len(SETTINGS),
    "shape": 1 / len(SHAPES),
    "colour": 1 / len(COLOURS),
    "action": 1 / len(ACTIONS),
    "weather": max(WEATHER_SHARES),
}
SWITCH_CHUNK, NUM_CHUNKS = 5, 9
BATCH = 10
AFTER_SWITCH = slice(12, 36)
"""Pictures after a switch that are read: up to 2.25 seconds after it, without its first chunk."""


class TrialGroup(NamedTuple):
    """Trials that are generated as one batch, the seed of the first, and the switch modes to try."""

    trials: list[Trial]
    first_seed: int
    modes: tuple[str, ...]


@dataclass(frozen=True)
class GroupReadings:
    """Oracle readings of a group: before the switch, after it by mode, and of the true pictures."""

    before: list[Reading]
    after: dict[str, list[Reading]]
    true_before: list[Reading]
    true_after: list[Reading]


def evaluate_prompts(
    models: ModelBundle,
    *,
    num_prompts: int,
    seed: int,
    modes: Sequence[str] = SWITCH_MODES,
    num_workers: int = 1,
) -> dict[str, Any]:
    """Scores in [0, 1] before and after a switch of the action, and as shares of the ceiling.

    Args:
        models: a single worker uses them as they are; several workers load ``models.folder``.
        num_prompts: number of trials.
        seed: of the trials and the noise.
        modes: of the switch, from ``SWITCH_MODES``.

    Returns:
        ``before`` and ``after_<mode>``, each with ``score`` and its ``interval``, ``ceiling`` and ``share``
        per attribute (and for ``before`` the scores of held-out combinations); and ``chance``.
    """
    trials = draw_trials(num_prompts, seed)
    scenes, turned = [t.scene for t in trials], [t.turned for t in trials]
    groups = [
        TrialGroup(trials[i : i + BATCH], seed * 100_003 + i, tuple(modes))
        for i in range(0, num_prompts, BATCH)
    ]
    read_group = partial(_read_group, models) if num_workers == 1 else partial(_load_and_read, models.folder)
    found = list(map_in_workers(read_group, groups, num_workers, "prompts"))
    before = [reading for group in found for reading in group.before]
    true_before = [reading for group in found for reading in group.true_before]
    true_after = [reading for group in found for reading in group.true_after]
    result: dict[str, Any] = {"before": _compare(before, true_before, scenes), "chance": CHANCE}
    held_out = [i for i, scene in enumerate(scenes) if is_held_out(scene)]
    rates = _hit_rates([before[i] for i in held_out], [scenes[i] for i in held_out])
    result["before"] |= {"held_out": rates, "held_out_interval": _intervals(rates, len(held_out))}
    for mode in modes:
        after = [reading for group in found for reading in group.after[mode]]
        result[f"after_{mode}"] = _compare(after, true_after, turned)
    return result


def _load_and_read(folder: Path, group: TrialGroup) -> GroupReadings:
    return _read_group(cached_models(folder), group)


@torch.no_grad()
def _read_group(models: ModelBundle, group: TrialGroup) -> GroupReadings:
    trials, first_seed, modes = group
    seeds = range(first_seed, first_seed + len(trials))
    stream = BatchStream(models, [t.prompt for t in trials], seeds)
    before = [read(video[SKIPPED_FRAMES:]) for video in stream.next_pictures(SWITCH_CHUNK)]
    after = {}
    for mode in modes:
        branch = stream.branch()
        branch.switch([t.turned_prompt for t in trials], mode)
        videos = branch.next_pictures(NUM_CHUNKS - SWITCH_CHUNK)
        after[mode] = [read(video[AFTER_SWITCH]) for video in videos]
    truth = [_true_halves(models.vae, t, s) for t, s in zip(trials, seeds, strict=True)]
    true_before = [read(first[SKIPPED_FRAMES:]) for first, _ in truth]
    return GroupReadings(before, after, true_before, [read(second[AFTER_SWITCH]) for _, second in truth])


def _true_halves(vae: AutoencoderKLWan, trial: Trial, seed: int) -> tuple[Tensor, Tensor]:
    """The true pictures of a trial before and after its switch, through the codec."""
    border, total = frames_before(SWITCH_CHUNK), frames_before(NUM_CHUNKS)
    rng = np.random.default_rng([seed, 11])
    pictures = through_codec(vae, draw_story([(trial.scene, border), (trial.turned, total - border)], rng))
    return pictures[:border], pictures[border:]


def codec_quality(vae: AutoencoderKLWan, num_frames: int, num_clips: int, seed: int) -> float:
    """Mean PSNR in dB of drawn clips of ``num_frames`` pictures through the codec."""
    rng = np.random.default_rng([seed, 12, num_frames])
    values = []
    for _ in range(num_clips):
        half = num_frames // 2
        pictures = draw_story([(random_scene(rng), half), (random_scene(rng), num_frames - half)], rng)
        error = through_codec(vae, pictures).float() - pictures.float()
        values.append(psnr_of(float(error.square().mean()) / 255**2))
    return float(np.mean(values))


def _compare(readings: list[Reading], truth: list[Reading], scenes: list[Scene]) -> dict[str, Any]:
    score, ceiling = _hit_rates(readings, scenes), _hit_rates(truth, scenes)
    share = {name: round(score[name] / max(ceiling[name], 1e-9), 4) for name in ATTRIBUTES}
    interval = _intervals(score, len(scenes))
    return {"score": score, "interval": interval, "ceiling": ceiling, "share": share}


def _intervals(rates: Mapping[str, float], count: int) -> dict[str, list[float | None]]:
    """Wilson's 95 % interval of each share of ``count`` trials, in [0, 1]."""
    found = {name: share_of(round(rate * count) if count else 0, count) for name, rate in rates.items()}
    return {name: [one.as_json()["ci_low"], one.as_json()["ci_high"]] for name, one in found.items()}


def _hit_rates(readings: list[Reading], scenes: list[Scene]) -> dict[str, float]:
    """Shares of readings, in [0, 1], that agree with their scene, by attribute."""

    def mean(is_right: Callable[[Reading, Scene], bool]) -> float:
        return round(float(np.mean([is_right(r, s) for r, s in zip(readings, scenes, strict=True)])), 4)

    rates = {name: mean(lambda r, s, n=name: getattr(r, n) == getattr(s, n)) for name in ATTRIBUTES}  # type: ignore[misc]
    return rates | {"one_subject": mean(lambda r, s: r.has_one_subject)}


def evaluate_storybook(
    models: ModelBundle, *, num_prompts: int = 300, seed: int = 0, num_workers: int = 1
) -> dict[str, Any]:
    """All published figures of the storybook model; the codec's are PSNR in dB by number of pictures."""
    result = evaluate_prompts(models, num_prompts=num_prompts, seed=seed, num_workers=num_workers)
    psnr = {str(n): round(codec_quality(models.vae, n, clips, seed), 2) for n, clips in ((81, 12), (321, 6))}
    return {
        "model": models.config.name,
        "digest": models.digest,
        "prompts": num_prompts,
        "seed": seed,
        "codec_psnr_db": psnr,
    } | result
