"""How far the subject and the background stay what they were: scores of pictures alone, no trained network.

Our own measures, since those of the paper (VBench, arXiv:2311.17982) are features of networks trained on
photographs. ``DEFINITIONS`` says in words for people what is computed here.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from longlive.evaluation.subject import Sight, hue_distance, look
from longlive.storybook.world.drawing import FPS, HEIGHT, RADIUS

CHANGE = "background_change"
"""The name under which a story's bare change is kept until the codec's own is known."""
PIECE, OVERLAP = 2 * FPS, 4
"""Pictures that are looked at together in a long take, and those of the piece before that they begin with."""

FREE_STEP, FAR_STEP = 0.5 * RADIUS, 1.5 * RADIUS
"""Pixels from one picture to the next: what the world's own motions stay under, and what loses all."""
FREE_GROWTH, FAR_GROWTH = 0.25, math.log(2)
"""The same for the logarithm of the area."""

DEFINITIONS = {
    "subject_consistency": (
        "0-100, the mean of four parts, each times the share of pictures in which a subject is seen. Colour: "
        "100 for the same hue as in the reference pictures, 0 for one as far off as the palette's two most "
        "alike colours. Shape: 100 if the oracle reads the same shape, else 0. Place and area: 100 if the "
        f"subject never moves more than {FREE_STEP:.1f} px, or grows or shrinks by more than "
        f"{100 * (math.exp(FREE_GROWTH) - 1):.0f} %, from one picture to the next; 0 from {FAR_STEP:.1f} px "
        "or a factor of 2 on; linear between. Place, area and shape by the oracle's outline of the subject."
    ),
    "background_consistency": (
        "0-100: 100 t / max(t, d). d: mean absolute difference of the median pictures of two seconds, in the "
        "top third and where neither second shows the subject. t: the mean of d over true stories of that "
        "setting which went through the codec. So 50 is a change twice as large as the codec's own."
    ),
}


@dataclass(frozen=True)
class SubjectConsistency:
    """The parts of subject consistency, each in [0, 100]; see ``DEFINITIONS``."""

    colour: float
    shape: float
    place: float
    area: float

    def as_scores(self) -> dict[str, float]:
        """Their mean and they themselves, by the names under which they are reported."""
        parts = dataclasses.asdict(self)
        mean = sum(parts.values()) / len(parts)
        return {"subject_consistency": mean} | {f"subject_{name}": part for name, part in parts.items()}


def subject_consistency(first: Sight, later: Sight, way: Sight) -> SubjectConsistency:
    """How far the subject of ``later`` looks like that of ``first``, and goes its ``way`` without a jump."""
    hue = float(np.linalg.norm(first.hue - later.hue)) / hue_distance()
    step = np.hypot(np.diff(way.x), np.diff(way.y))
    growth = np.abs(np.diff(np.log(way.area)))
    here, on_the_way = 100 * later.seen * (first.seen > 0), 100 * way.seen
    return SubjectConsistency(
        colour=here * max(0.0, 1 - hue),
        shape=here * (later.shape == first.shape),
        place=on_the_way * _evenness(step, FREE_STEP, FAR_STEP),
        area=on_the_way * _evenness(growth, FREE_GROWTH, FAR_GROWTH),
    )


def take_consistency(first: Sight, pictures: Tensor) -> SubjectConsistency:
    """The mean over the pieces of a take, (F, 3, H, W), each compared with ``first``."""
    pieces = [look(pictures[max(0, i - OVERLAP) : i + PIECE]) for i in range(0, len(pictures), PIECE)]
    found = [subject_consistency(first, piece, piece) for piece in pieces]
    return SubjectConsistency(*np.mean([dataclasses.astuple(parts) for parts in found], 0).tolist())


def background_change(first: Tensor, last: Tensor) -> float:
    """The mean absolute difference of the backgrounds of two clips' median pictures, in [0, 1].

    Where the subject covers all of the top third, and nothing is known to be background, all of it counts.

    Args:
        first, last: uint8 (F, 3, H, W), a second each.
    """
    is_free = ~(look(first).covered | look(last).covered)[: HEIGHT // 3]
    is_free |= ~is_free.any()
    still = [clip.median(0).values[:, : HEIGHT // 3].float() / 255 for clip in (first, last)]
    return float((still[0] - still[1]).abs().mean(0)[is_free].mean())


def codec_changes(truth: Sequence[Mapping[str, float]], settings: Sequence[str]) -> dict[str, float]:
    """The mean background change of true, coded stories by setting; those without one do not count."""
    changes: dict[str, list[float]] = {setting: [] for setting in settings}
    for story, setting in zip(truth, settings, strict=True):
        changes[setting] += [story[CHANGE]] if CHANGE in story else []
    return {setting: float(np.mean(found)) if found else 0.0 for setting, found in changes.items()}


def scaled(scores: Mapping[str, float], codec_change: float) -> dict[str, float]:
    """The same scores, with background consistency, in [0, 100], for the bare change."""
    others = {name: value for name, value in scores.items() if name != CHANGE}
    if CHANGE not in scores:
        return others
    change = scores[CHANGE]
    return {
        "background_consistency": 100 * codec_change / change if change > codec_change else 100.0
    } | others


def _evenness(steps: np.ndarray, free: float, far: float) -> float:
    """1 if the largest step is at most ``free``, 0 from ``far`` on, or when there is no step at all."""
    if not len(steps):
        return 0.0
    return float(np.clip((far - steps.max()) / (far - free), 0, 1))
