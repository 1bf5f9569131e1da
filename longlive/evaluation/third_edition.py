"""How well the third edition follows its prompts: seven attributes, before and after a turn.

As ``obedience`` for the second edition, but half of the turns change the action and half the prop, and what
the turn keeps is scored apart from what it changes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longlive.evaluation.obedience import AFTER_SWITCH, NUM_CHUNKS, SWITCH_CHUNK
from longlive.evaluation.stream import BatchStream
from longlive.evaluation.trials import Trial, through_codec
from longlive.models.bundle import ModelBundle
from longlive.storybook.dataset import frames_before
from longlive.storybook.third_edition.oracle.reading import Reading, read
from longlive.storybook.third_edition.world.captions import caption
from longlive.storybook.third_edition.world.drawing import SIZE, draw_stories
from longlive.storybook.third_edition.world.scene import (
    ATTRIBUTES,
    SHARES,
    Scene,
    is_held_out,
    random_scene,
)

CHANCE = {name: max(SHARES.get(name, (1 / len(values),))) for name, values in ATTRIBUTES.items()}
BATCH = 10
READ = slice(-24, None)
"""Pictures before a turn that are read: the last 1.5 seconds."""


def is_third_edition(models: ModelBundle) -> bool:
    """Whether a model makes pictures of the third edition's size."""
    return (models.config.height, models.config.width) == SIZE


def draw_turns(count: int, seed: int) -> list[Trial]:
    """Trials that change the action or, every second one, the prop; a fifth of the scenes are held out."""
    rng = np.random.default_rng([seed, 60])
    trials = []
    for index in range(count):
        scene = random_scene(rng, held_out=index % 5 == 0)
        name = ("action", "prop")[index % 2]
        others = [value for value in ATTRIBUTES[name] if value != getattr(scene, name)]
        turned = replace(scene, **{name: str(rng.choice(others))})
        prompts = [caption(one, rng, complete=True) for one in (scene, turned)]
        trials.append(Trial(scene, turned, *prompts))  # type: ignore[arg-type]
    return trials


@torch.no_grad()
def evaluate_third_edition(
    models: ModelBundle, *, num_prompts: int = 300, seed: int = 0, mode: str = "soft"
) -> dict[str, Any]:
    """Scores in [0, 1] before and after a turn, with the codec's ceiling, and as shares of it.

    Returns:
        ``before`` and ``after``, each with ``score``, ``ceiling`` and ``share`` for every attribute and
        ``one_subject``, ``after`` also for what is ``new`` and (all of it) ``kept``; ``held_out``, the
        scores before the turn of combinations that training never saw; and ``chance``.
    """
    trials = draw_turns(num_prompts, seed)
    before: list[Reading] = []
    after: list[Reading] = []
    for first in range(0, num_prompts, BATCH):
        part = trials[first : first + BATCH]
        seeds = range(seed * 100_003 + first, seed * 100_003 + first + len(part))
        stream = BatchStream(models, [trial.prompt for trial in part], seeds)
        before += [read(video[READ]) for video in stream.next_pictures(SWITCH_CHUNK)]
        stream.switch([trial.turned_prompt for trial in part], mode)
        videos = stream.next_pictures(NUM_CHUNKS - SWITCH_CHUNK)
        after += [read(video[AFTER_SWITCH]) for video in videos]
    truth = [_true_halves(models, trial) for trial in trials]
    true_before = [read(first[READ]) for first, _ in truth]
    true_after = [read(second[AFTER_SWITCH]) for _, second in truth]
    held_out = [index for index, trial in enumerate(trials) if is_held_out(_scene(trial.scene))]
    scores_before = _scores(before, trials)
    return {
        "model": models.config.name,
        "digest": models.digest,
        "prompts": num_prompts,
        "seed": seed,
        "mode": mode,
        "before": _compare(scores_before, _scores(true_before, trials)),
        "after": _compare(_scores(after, trials, turned=True), _scores(true_after, trials, turned=True)),
        "held_out": _scores([before[i] for i in held_out], [trials[i] for i in held_out]),
        "chance": CHANCE,
    }


def _true_halves(models: ModelBundle, trial: Trial) -> tuple[Tensor, Tensor]:
    """The true pictures of a trial before and after its turn, through the codec: uint8 (F, 3, H, W)."""
    border, total = frames_before(SWITCH_CHUNK), frames_before(NUM_CHUNKS)
    story = [(_scene(trial.scene), border), (_scene(trial.turned), total - border)]
    pictures = through_codec(models.vae, draw_stories([story])[0] * 255)
    return pictures[:border], pictures[border:]


def _scene(scene: Any) -> Scene:
    assert isinstance(scene, Scene)
    return scene


def _scores(
    readings: Sequence[Reading], trials: Sequence[Trial], *, turned: bool = False
) -> dict[str, float]:
    """Shares of the readings that agree with the trials' first, or second, scene."""
    rights: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, "one_subject")}
    if turned:
        rights |= {"new": [], "kept": []}
    for reading, trial in zip(readings, trials, strict=True):
        scene = _scene(trial.turned if turned else trial.scene)
        right = {name: getattr(reading, name) == getattr(scene, name) for name in ATTRIBUTES}
        for name, is_right in right.items():
            rights[name].append(is_right)
        rights["one_subject"].append(reading.has_one_subject)
        if turned:
            changed = {name for name in ATTRIBUTES if getattr(trial.scene, name) != getattr(scene, name)}
            rights["new"].append(all(right[name] for name in changed))
            rights["kept"].append(all(right[name] for name in ATTRIBUTES if name not in changed))
    return {name: round(float(np.mean(values)), 4) for name, values in rights.items() if values}


def _compare(score: dict[str, float], ceiling: dict[str, float]) -> dict[str, dict[str, float]]:
    share = {name: round(value / max(ceiling[name], 1e-9), 4) for name, value in score.items()}
    return {"score": score, "ceiling": ceiling, "share": share}
