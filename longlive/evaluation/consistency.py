"""Consistency of subject and background, computed from the pictures without a trained network.

The paper's measures (VBench, arXiv:2311.17982) are features of networks trained on photographs, which do not
fit drawn pictures. ``DEFINITIONS`` describes the scores for readers of a report.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from longlive.evaluation.subject import SubjectObservation, hue_distance, observe_subject
from longlive.storybook.world.drawing import FPS, HEIGHT, RADIUS

CHANGE = "background_change"
"""Name of a video's raw background change, until ``scaled`` replaces it by a score."""
PIECE, OVERLAP = 2 * FPS, 4
"""Pictures in a piece of a long video, and how many of them overlap with the piece before."""

FREE_STEP, FAR_STEP = 0.5 * RADIUS, 1.5 * RADIUS
"""Motion in pixels per picture: the largest of the world's own motions, and where the score reaches 0."""
FREE_GROWTH, FAR_GROWTH = 0.25, math.log(2)
"""The same for changes of the logarithm of the area."""

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
        "top third and where neither second shows the subject. t: the mean of d over true videos of that "
        "setting through the codec. So 50 is a change twice as large as the codec's own."
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
        """The mean and the parts, by the names under which they are reported."""
        parts = dataclasses.asdict(self)
        mean = sum(parts.values()) / len(parts)
        return {"subject_consistency": mean} | {f"subject_{name}": part for name, part in parts.items()}


def subject_consistency(
    first: SubjectObservation, later: SubjectObservation, path: SubjectObservation
) -> SubjectConsistency:
    """Whether the subject of ``later`` looks like that of ``first``, and moves in ``path`` without a jump."""
    hue = float(np.linalg.norm(first.hue - later.hue)) / hue_distance()
    step = np.hypot(np.diff(path.x), np.diff(path.y))
    growth = np.abs(np.diff(np.log(path.area)))
    appearance, motion = 100 * later.seen * (first.seen > 0), 100 * path.seen
    return SubjectConsistency(
        colour=appearance * max(0.0, 1 - hue),
        shape=appearance * (later.shape == first.shape),
        place=motion * _smoothness(step, FREE_STEP, FAR_STEP),
        area=motion * _smoothness(growth, FREE_GROWTH, FAR_GROWTH),
    )


def video_consistency(first: SubjectObservation, pictures: Tensor) -> SubjectConsistency:
    """The mean over the pieces of a video, uint8 (F, 3, H, W), each compared with ``first``."""
    starts = range(0, len(pictures), PIECE)
    pieces = [observe_subject(pictures[max(0, i - OVERLAP) : i + PIECE]) for i in starts]
    found = [subject_consistency(first, piece, piece) for piece in pieces]
    return SubjectConsistency(*np.mean([dataclasses.astuple(parts) for parts in found], 0).tolist())


def background_change(first: Tensor, last: Tensor) -> float:
    """The mean absolute difference of the backgrounds of two clips' median pictures, in [0, 1].

    Only the top third without the subject is compared; all of it, if the subject covers it.

    Args:
        first, last: uint8 (F, 3, H, W), a second each.
    """
    is_free = ~(observe_subject(first).covered | observe_subject(last).covered)[: HEIGHT // 3]
    is_free |= ~is_free.any()
    medians = [clip.median(0).values[:, : HEIGHT // 3].float() / 255 for clip in (first, last)]
    return float((medians[0] - medians[1]).abs().mean(0)[is_free].mean())


def codec_changes(truth: Sequence[Mapping[str, float]], settings: Sequence[str]) -> dict[str, float]:
    """The mean background change of true videos through the codec, by setting.

    Args:
        truth: scores of the true videos; those without ``CHANGE`` are ignored.
        settings: of the same videos.
    """
    changes: dict[str, list[float]] = {setting: [] for setting in settings}
    for scores, setting in zip(truth, settings, strict=True):
        changes[setting] += [scores[CHANGE]] if CHANGE in scores else []
    return {setting: float(np.mean(found)) if found else 0.0 for setting, found in changes.items()}


def scaled(scores: Mapping[str, float], codec_change: float) -> dict[str, float]:
    """The scores with ``CHANGE`` replaced by background consistency, in [0, 100]."""
    others = {name: value for name, value in scores.items() if name != CHANGE}
    if CHANGE not in scores:
        return others
    change = scores[CHANGE]
    return {
        "background_consistency": 100 * codec_change / change if change > codec_change else 100.0
    } | others


def _smoothness(steps: np.ndarray, free: float, far: float) -> float:
    """1 if the largest step is at most ``free``, 0 from ``far`` on, or when there is no step at all."""
    if not len(steps):
        return 0.0
    return float(np.clip((far - steps.max()) / (far - free), 0, 1))
