"""Drift over minutes: what the oracle reads, consistency and the look of the pictures, every ten seconds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longlive.evaluation import consistency
from longlive.evaluation.consistency import PIECE
from longlive.evaluation.obedience import ATTRIBUTES, SKIPPED_FRAMES
from longlive.evaluation.statistics import difference, estimate
from longlive.evaluation.stories import StreamTeller, Take, draw_takes, true_story
from longlive.evaluation.subject import Sight, look
from longlive.evaluation.workers import in_workers, models_in
from longlive.models.bundle import ModelBundle
from longlive.storybook.world.drawing import FPS
from longlive.storybook.world.oracle import read

WINDOW_SECONDS = 10
BATCH = 4
READ_FRAMES = 40

DEFINITIONS = consistency.DEFINITIONS | {
    "attributes": (
        "% of pieces of 2.5 s in which the oracle reads the attribute as asked for (one_subject: counts "
        "exactly one); of each story the mean over the ten seconds, then over the stories."
    ),
    "all_attributes": "The same for pieces in which every attribute is read as asked for.",
    "beginning": "The first 9 pictures are left out; the 2 s after them come before the first window.",
    "subject_consistency in a window": "Each of its pieces of 2 s against the beginning.",
    "background_consistency in a window": "Its last second against the first of the beginning.",
    "pictures": (
        "brightness: mean of all channels; contrast: their standard deviation; saturation: largest less "
        "smallest channel; sharpness: difference of neighbours across and down; flicker: difference of "
        "successive pictures; all in % of white, means over the window."
    ),
    "drift": "The last ten seconds less the first, paired by story.",
}

Scores = dict[str, float]
Item = tuple[Path, list[Take], int, int]


def measure_drift(
    models: Mapping[str, ModelBundle], *, num_prompts: int, seconds: int, seed: int, num_workers: int
) -> dict[str, Any]:
    """Scores of each model, with and without a sink, in windows of ten seconds, and how far they drift.

    Args:
        models: by their labels.
        num_prompts: stories, the same for every model.
        seconds: length of each, a multiple of ten.
        seed, num_workers: of the stories and noise; processes.
    """
    takes, runs = draw_takes(num_prompts, seed), _runs(models)
    batches = [takes[i : i + BATCH] for i in range(0, num_prompts, BATCH)]
    items: list[Item] = [
        (models[label].folder, batch, sink, seconds // WINDOW_SECONDS)
        for label, sink in runs
        for batch in batches
    ]
    told = [story for batch in in_workers(_tell, items, num_workers, "stories") for story in batch]
    settings = [take.scene.setting for take in takes]
    codec = {label: _codec_changes(bundle, takes) for label, bundle in models.items()}
    return {
        "seconds": seconds,
        "runs": [
            {"model": label, "sink": sink}
            | _summary(
                [
                    [consistency.scaled(window, codec[label][setting]) for window in story]
                    for story, setting in zip(told[i * num_prompts :], settings, strict=False)
                ]
            )
            for i, (label, sink) in enumerate(runs)
        ],
    }


def _runs(models: Mapping[str, ModelBundle]) -> list[tuple[str, int]]:
    return [
        (label, sink)
        for label, bundle in models.items()
        for sink in (bundle.config.sink or bundle.config.chunk, 0)
    ]


def _codec_changes(models: ModelBundle, takes: Sequence[Take]) -> dict[str, float]:
    truth = []
    for take in takes:
        pictures = true_story(models.vae, [(take.scene, 1 + 2 * PIECE)], take.seed)[SKIPPED_FRAMES:]
        truth.append({consistency.CHANGE: consistency.background_change(pictures[:FPS], pictures[-FPS:])})
    return consistency.codec_changes(truth, [take.scene.setting for take in takes])


def _summary(stories: Sequence[Sequence[Scores]]) -> dict[str, Any]:
    """The windows' figures over the stories, and the last window's less the first's."""
    names, last = list(stories[0][0]), len(stories[0]) - 1
    columns = [
        {name: [story[window][name] for story in stories] for name in names} for window in range(last + 1)
    ]
    return {
        "windows": [
            {"from": WINDOW_SECONDS * window}
            | {name: estimate(values).as_json() for name, values in column.items()}
            for window, column in enumerate(columns)
        ],
        "drift": {name: difference(columns[last][name], columns[0][name]).as_json() for name in names},
    }


@torch.no_grad()
def _tell(item: Item) -> list[list[Scores]]:
    """The scores of each story in each window."""
    folder, takes, sink, num_windows = item
    models = models_in(folder)
    teller = StreamTeller(models, [t.prompt for t in takes], [t.seed for t in takes], sink=sink)
    told: list[list[Scores]] = [[] for _ in takes]
    parts = _parts(teller, [PIECE] + [WINDOW_SECONDS * FPS] * num_windows)
    firsts = [(clip[:FPS], look(clip)) for clip in next(parts)]
    for window in parts:
        for story, clip, take, first in zip(told, window, takes, firsts, strict=True):
            story.append(window_scores(clip, take, *first))
    return told


def _parts(teller: StreamTeller, sizes: Sequence[int]) -> Iterator[Tensor]:
    """So many pictures each, uint8 (B, F, 3, H, W), one after another; the take's very first are left out."""
    pictures = teller.tell(1)[:, SKIPPED_FRAMES:]
    for size in sizes:
        while pictures.shape[1] < size:
            pictures = torch.cat([pictures, teller.tell(1)], 1)
        yield pictures[:, :size]
        pictures = pictures[:, size:]


def window_scores(pictures: Tensor, take: Take, first_second: Tensor, first: Sight) -> Scores:
    """The scores of one window of a take.

    Args:
        pictures: uint8 (F, 3, H, W).
        take: what was asked for.
        first_second, first: of the take's beginning, and the subject in it.
    """
    readings = [read(piece) for piece in pictures.split(READ_FRAMES)]
    right = np.array(
        [[getattr(r, name) == getattr(take.scene, name) for name in ATTRIBUTES] for r in readings]
    )
    scores = {name: 100 * float(right[:, i].mean()) for i, name in enumerate(ATTRIBUTES)}
    scores["all_attributes"] = 100 * float(right.all(1).mean())
    scores["one_subject"] = 100 * float(np.mean([reading.has_one_subject for reading in readings]))
    scores |= consistency.take_consistency(first, pictures).as_scores()
    scores[consistency.CHANGE] = consistency.background_change(first_second, pictures[-FPS:])
    return scores | picture_statistics(pictures)


def picture_statistics(pictures: Tensor) -> Scores:
    """The look of pictures (F, 3, H, W), uint8, in % of white; see ``DEFINITIONS``."""
    values = pictures.float() / 2.55
    across, down = values.diff(dim=3).abs().mean(), values.diff(dim=2).abs().mean()
    return {
        "brightness": float(values.mean()),
        "contrast": float(values.std((1, 2, 3)).mean()),
        "saturation": float((values.amax(1) - values.amin(1)).mean()),
        "sharpness": float((across + down) / 2),
        "flicker": float(values.diff(dim=0).abs().mean()),
    }
