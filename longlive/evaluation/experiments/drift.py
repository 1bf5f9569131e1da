"""Drift over minutes: oracle readings, consistency and picture statistics, every ten seconds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longlive.evaluation import consistency
from longlive.evaluation.consistency import PIECE
from longlive.evaluation.statistics import Estimate, Scores, difference, estimate, mean
from longlive.evaluation.stream import BatchStream
from longlive.evaluation.subject import SubjectObservation, observe_subject
from longlive.evaluation.trials import (
    ATTRIBUTES,
    SKIPPED_FRAMES,
    SingleScene,
    draw_single_scenes,
    true_pictures,
)
from longlive.evaluation.videos import network, pixels
from longlive.evaluation.workers import cached_models, map_in_workers
from longlive.models.bundle import ModelBundle
from longlive.storybook.world.drawing import FPS
from longlive.storybook.world.oracle import read

WINDOW_SECONDS = 10
BATCH = 4
READ_FRAMES = 40
SCORED_S = 2
"""Of each window, so many of its first seconds are scored by the stand-ins."""

DEFINITIONS = (
    consistency.DEFINITIONS
    | pixels.DEFINITIONS
    | network.DEFINITIONS
    | {
        "attributes": (
            "% of pieces of 2.5 s in which the oracle reads the attribute as asked for (one_subject: counts "
            "exactly one); of each video the mean over the ten seconds, then over the videos."
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
        "pixel_…, network_… in a window": f"Of its first {SCORED_S} s.",
        "drift": "The last ten seconds less the first, paired by video.",
    }
)


class DriftTask(NamedTuple):
    """Videos that are generated as one batch: of which model, with what sink, over how many windows."""

    folder: Path
    scenes: list[SingleScene]
    sink: int
    num_windows: int


def measure_drift(
    models: Mapping[str, ModelBundle], *, num_prompts: int, seconds: int, seed: int, num_workers: int
) -> dict[str, Any]:
    """Scores of each model, with and without a sink, in windows of ten seconds, and how far they drift.

    Args:
        models: by their labels.
        num_prompts: number of videos; the same prompts for every model.
        seconds: length of each, a multiple of ten.
        seed: of the prompts and the noise.
        num_workers: processes.
    """
    scenes, runs = draw_single_scenes(num_prompts, seed), _runs(models)
    batches = [scenes[i : i + BATCH] for i in range(0, num_prompts, BATCH)]
    tasks = [
        DriftTask(models[label].folder, batch, sink, seconds // WINDOW_SECONDS)
        for label, sink in runs
        for batch in batches
    ]
    scores = [
        video for batch in map_in_workers(_score_windows, tasks, num_workers, "videos") for video in batch
    ]
    settings = [single.scene.setting for single in scenes]
    codec = {label: _codec_changes(bundle, scenes) for label, bundle in models.items()}
    return {
        "seconds": seconds,
        "runs": [
            {"model": label, "sink": sink}
            | _summary(
                [
                    [consistency.scaled(window, codec[label][setting]) for window in video]
                    for video, setting in zip(scores[i * num_prompts :], settings, strict=False)
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


def _codec_changes(models: ModelBundle, scenes: Sequence[SingleScene]) -> dict[str, float]:
    truth = []
    for single in scenes:
        pictures = true_pictures(models.vae, [(single.scene, 1 + 2 * PIECE)], single.seed)[SKIPPED_FRAMES:]
        truth.append({consistency.CHANGE: consistency.background_change(pictures[:FPS], pictures[-FPS:])})
    return consistency.codec_changes(truth, [single.scene.setting for single in scenes])


def _summary(videos: Sequence[Sequence[Scores]]) -> dict[str, Any]:
    """Estimates per window over the videos, and the differences of the last window to the first."""
    names, last = list(videos[0][0]), len(videos[0]) - 1
    columns = [
        {name: [video[window][name] for video in videos] for name in names} for window in range(last + 1)
    ]
    return {
        "windows": [
            {"from": WINDOW_SECONDS * window}
            | {name: _estimate(name, values).as_json() for name, values in column.items()}
            for window, column in enumerate(columns)
        ],
        "drift": {name: difference(columns[last][name], columns[0][name]).as_json() for name in names},
    }


def _estimate(name: str, values: Sequence[float]) -> Estimate:
    """Of shares, which may be all or nothing; and of the stand-ins, which are none."""
    return mean(values) if name in (*pixels.NAMES, network.NAME) else estimate(values)


@torch.no_grad()
def _score_windows(task: DriftTask) -> list[list[Scores]]:
    """The scores of each video in each window."""
    folder, scenes, sink, num_windows = task
    models = cached_models(folder)
    stream = BatchStream(models, [s.prompt for s in scenes], [s.seed for s in scenes], sink=sink)
    scores: list[list[Scores]] = [[] for _ in scenes]
    parts = _split(stream, [PIECE] + [WINDOW_SECONDS * FPS] * num_windows)
    beginnings = [(clip[:FPS], observe_subject(clip)) for clip in next(parts)]
    for window in parts:
        for video, clip, single, beginning in zip(scores, window, scenes, beginnings, strict=True):
            video.append(window_scores(clip, single, *beginning))
    return scores


def _split(stream: BatchStream, sizes: Sequence[int]) -> Iterator[Tensor]:
    """Consecutive parts of ``sizes`` pictures each, uint8 (B, F, 3, H, W), after ``SKIPPED_FRAMES``."""
    pictures = stream.next_pictures(1)[:, SKIPPED_FRAMES:]
    for size in sizes:
        while pictures.shape[1] < size:
            pictures = torch.cat([pictures, stream.next_pictures(1)], 1)
        yield pictures[:, :size]
        pictures = pictures[:, size:]


def window_scores(
    pictures: Tensor, single: SingleScene, first_second: Tensor, first: SubjectObservation
) -> Scores:
    """The scores of one window of a video.

    Args:
        pictures: uint8 (F, 3, H, W).
        single: what was asked for.
        first_second: the first scored second of the video.
        first: the subject in the beginning of the video.
    """
    readings = [read(piece) for piece in pictures.split(READ_FRAMES)]
    right = np.array(
        [[getattr(r, name) == getattr(single.scene, name) for name in ATTRIBUTES] for r in readings]
    )
    scores = {name: 100 * float(right[:, i].mean()) for i, name in enumerate(ATTRIBUTES)}
    scores["all_attributes"] = 100 * float(right.all(1).mean())
    scores["one_subject"] = 100 * float(np.mean([reading.has_one_subject for reading in readings]))
    scores |= consistency.video_consistency(first, pictures).as_scores()
    scores[consistency.CHANGE] = consistency.background_change(first_second, pictures[-FPS:])
    scored = pictures[: SCORED_S * FPS]
    standins = pixels.pixel_scores(scored, FPS) | network.network_scores(scored, FPS)
    return scores | picture_statistics(pictures) | standins


def picture_statistics(pictures: Tensor) -> Scores:
    """Statistics of pictures (F, 3, H, W), uint8, in % of white; see ``DEFINITIONS``."""
    values = pictures.float() / 2.55
    across, down = values.diff(dim=3).abs().mean(), values.diff(dim=2).abs().mean()
    return {
        "brightness": float(values.mean()),
        "contrast": float(values.std((1, 2, 3)).mean()),
        "saturation": float((values.amax(1) - values.amin(1)).mean()),
        "sharpness": float((across + down) / 2),
        "flicker": float(values.diff(dim=0).abs().mean()),
    }
