"""Figure 7 of the paper: consistency, time and memory against the window, with and without a sink."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from longlive.config import ModelConfig, StreamConfig
from longlive.evaluation import consistency
from longlive.evaluation.statistics import Scores, difference, estimate
from longlive.evaluation.stream import BatchStream
from longlive.evaluation.subject import observe_subject
from longlive.evaluation.trials import (
    ATTRIBUTES,
    SKIPPED_FRAMES,
    SingleScene,
    draw_single_scenes,
    true_pictures,
)
from longlive.evaluation.workers import cached_models, map_in_workers
from longlive.generation.session import Session
from longlive.models.bundle import ModelBundle
from longlive.models.kv_cache import KVCache
from longlive.storybook.world.drawing import FPS
from longlive.storybook.world.oracle import read

LARGEST = 21
"""Latents: a clip of the training."""
TIMED_CHUNKS = 6
TRUE_SECONDS = 4
LAST_SECONDS = 3

DEFINITIONS = consistency.DEFINITIONS | {
    "window": "Latent frames attended to, the sink and the chunk being made included.",
    "subject_consistency of a video": (
        "The mean over pieces of 2 s, each compared with the first 2 s (its first 9 pictures left out)."
    ),
    "background_consistency of a video": "Its first second (9 pictures left out) against its last.",
    "all_at_the_end": "% of videos in which every attribute is read as asked for in the last 3 s.",
    "chunk_ms": (
        "Median milliseconds from noise to pictures of one stream with a full window, one thread; cpu_ms: "
        "the processor time of the same, which other work on the machine disturbs less."
    ),
    "cache_bytes": "Keys and values of one stream. rss_bytes: of the whole process after it.",
    "short_with_sink": (
        "The model's own window with a sink less the longest window without one, paired by video."
    ),
    "ceiling": f"The same scores of {TRUE_SECONDS} true seconds of each video through the codec.",
}

Columns = dict[str, list[float]]
"""The values of each score over the videos."""


class WindowTask(NamedTuple):
    """Videos that are generated as one batch: of which model, how long, with what window and sink."""

    folder: Path
    scenes: list[SingleScene]
    num_chunks: int
    choice: dict[str, int]


def compare_windows(
    models: ModelBundle, *, num_prompts: int, seconds: float, seed: int, num_workers: int
) -> dict[str, Any]:
    """Each window's scores in [0, 100], milliseconds per chunk and memory, with and without a sink."""
    scenes = draw_single_scenes(num_prompts, seed)
    choices = window_choices(models.config)
    costs = [measure_cost(models, scenes[0], choice) for choice in choices]
    num_chunks = chunks_of(models.config, seconds)
    tasks = [WindowTask(models.folder, scenes, num_chunks, choice) for choice in choices]
    videos_by_window = list(map_in_workers(_score_videos, tasks, num_workers, "windows"))
    truth = [true_video_scores(models, single) for single in scenes]
    settings = [single.scene.setting for single in scenes]
    codec = consistency.codec_changes(truth, settings)

    def columns(videos: Sequence[Scores]) -> Columns:
        rows = [consistency.scaled(video, codec[s]) for video, s in zip(videos, settings, strict=True)]
        return {name: [row[name] for row in rows] for name in rows[0]}

    scores = [columns(videos) for videos in videos_by_window]
    windows = [
        choice | _figures(own) | cost for choice, own, cost in zip(choices, scores, costs, strict=True)
    ]
    return {
        "seconds": seconds,
        "windows": windows,
        "ceiling": _figures(columns(truth)),
        "short_with_sink": _short_against_long(models.config, windows, scores),
    }


def _figures(columns: Columns) -> dict[str, Any]:
    return {name: estimate(values).as_json() for name, values in columns.items()}


def _short_against_long(
    config: ModelConfig, windows: Sequence[dict[str, Any]], scores: Sequence[Columns]
) -> dict[str, Any]:
    """The model's own window, or the shortest there is, with a sink against the longest without one."""
    with_sink = [i for i, row in enumerate(windows) if row["sink"]]
    short = max([i for i in with_sink if windows[i]["window"] <= config.window], default=with_sink[0])
    long = max(i for i, row in enumerate(windows) if not row["sink"])
    return {
        "windows": [windows[short]["window"], windows[long]["window"]],
        "cpu_ms": [windows[short]["cpu_ms"], windows[long]["cpu_ms"]],
        "differences": {
            name: difference(values, scores[long][name]).as_json() for name, values in scores[short].items()
        },
    }


def window_choices(config: ModelConfig) -> list[dict[str, int]]:
    """Windows of whole chunks up to 21 latents, without a sink and, where there is room, with one."""
    sinks = (0, config.sink or config.chunk)
    return [
        {"window": window, "sink": sink}
        for sink in sinks
        for window in range(config.chunk, LARGEST + 1, config.chunk)
        if window >= sink + config.chunk
    ]


def chunks_of(config: ModelConfig, seconds: float) -> int:
    """The fewest chunks that play for ``seconds``."""
    num_latents = 1 + -(-(round(seconds * config.fps) - 1) // config.temporal_scale)
    return -(-num_latents // config.chunk)


def measure_cost(models: ModelBundle, single: SingleScene, choice: dict[str, int]) -> dict[str, float]:
    """Time and memory of one stream; see ``DEFINITIONS``."""
    config, stream = models.config, StreamConfig.of(models.config, **choice)
    walls, processor = [], []
    with Session(
        models, single.prompt, seed=single.seed, window=choice["window"], sink=choice["sink"]
    ) as session:
        for index in range(-(-stream.window // stream.chunk) + TIMED_CHUNKS):
            begun = time.process_time()
            session.next_chunk()
            if index >= stream.window // stream.chunk:
                walls.append(sum(session.stage_ms.values()))
                processor.append(1000 * (time.process_time() - begun))
        rss = psutil.Process().memory_info().rss
    cache = KVCache(config.transformer, stream, config.tokens_per_latent, dtype=models.dtype)
    return {
        "chunk_ms": round(statistics.median(walls), 1),
        "cpu_ms": round(statistics.median(processor), 1),
        "cache_bytes": cache.num_bytes,
        "rss_bytes": rss,
    }


@torch.no_grad()
def _score_videos(task: WindowTask) -> list[Scores]:
    folder, scenes, num_chunks, choice = task
    prompts, seeds = [single.prompt for single in scenes], [single.seed for single in scenes]
    videos = BatchStream(cached_models(folder), prompts, seeds, **choice).next_pictures(num_chunks)
    return [video_scores(video, single) for video, single in zip(videos, scenes, strict=True)]


def video_scores(pictures: Tensor, single: SingleScene) -> Scores:
    """The scores of a video, uint8 (F, 3, H, W), in [0, 100], and its background change."""
    scored = pictures[SKIPPED_FRAMES:]
    first, reading = observe_subject(scored[: consistency.PIECE]), read(scored[-LAST_SECONDS * FPS :])
    obeys = all(getattr(reading, name) == getattr(single.scene, name) for name in ATTRIBUTES)
    scores = consistency.video_consistency(first, scored[consistency.PIECE :]).as_scores()
    change = consistency.background_change(scored[:FPS], scored[-FPS:])
    return scores | {"all_at_the_end": 100.0 * obeys, consistency.CHANGE: change}


def true_video_scores(models: ModelBundle, single: SingleScene) -> Scores:
    """The scores of a few drawn seconds of a scene through the codec."""
    num_frames = 1 + 4 * (TRUE_SECONDS * FPS // 4)
    return video_scores(true_pictures(models.vae, [(single.scene, num_frames)], single.seed), single)
