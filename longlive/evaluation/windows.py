"""Figure 7 of the paper: consistency, time and memory against the window, with and without a sink."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from longlive.benchmark.bench import percentile
from longlive.config import ModelConfig, StreamConfig
from longlive.evaluation import consistency
from longlive.evaluation.obedience import ATTRIBUTES, SKIPPED_FRAMES
from longlive.evaluation.statistics import difference, estimate
from longlive.evaluation.stories import StreamTeller, Take, draw_takes, true_story
from longlive.evaluation.subject import look
from longlive.evaluation.workers import in_workers, models_in
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
    "subject_consistency of a take": (
        "The mean over pieces of 2 s, each compared with the first 2 s (its first 9 pictures left out)."
    ),
    "background_consistency of a take": "Its first second (9 pictures left out) against its last.",
    "all_at_the_end": "% of takes in which every attribute is read as asked for in the last 3 s.",
    "chunk_ms": (
        "Median milliseconds from noise to pictures of one stream with a full window, one thread; cpu_ms: "
        "the processor time of the same, which other work on the machine disturbs less."
    ),
    "cache_bytes": "Keys and values of one stream. rss_bytes: of the whole process after it.",
    "short_with_sink": (
        "The model's own window with a sink less the longest window without one, paired by take."
    ),
    "ceiling": f"The same scores of {TRUE_SECONDS} true seconds of each take through the codec.",
}

Scores = dict[str, float]
Columns = dict[str, list[float]]
Item = tuple[Path, list[Take], int, dict[str, int]]


def compare_windows(
    models: ModelBundle, *, num_prompts: int, seconds: float, seed: int, num_workers: int
) -> dict[str, Any]:
    """Each window's scores in [0, 100], milliseconds per chunk and memory, with and without a sink."""
    takes = draw_takes(num_prompts, seed)
    choices = window_choices(models.config)
    costs = [measure_cost(models, takes[0], choice) for choice in choices]
    num_chunks = chunks_of(models.config, seconds)
    items: list[Item] = [(models.folder, takes, num_chunks, choice) for choice in choices]
    told = list(in_workers(_tell, items, num_workers, "windows"))
    truth = [true_take_scores(models, take) for take in takes]
    settings = [take.scene.setting for take in takes]
    codec = consistency.codec_changes(truth, settings)

    def columns(stories: Sequence[Scores]) -> Columns:
        rows = [consistency.scaled(story, codec[s]) for story, s in zip(stories, settings, strict=True)]
        return {name: [row[name] for row in rows] for name in rows[0]}

    scores = [columns(stories) for stories in told]
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


def measure_cost(models: ModelBundle, take: Take, choice: dict[str, int]) -> dict[str, float]:
    """Time and memory of one stream; see ``DEFINITIONS``."""
    config, stream = models.config, StreamConfig.of(models.config, **choice)
    walls, processor = [], []
    with Session(
        models, take.prompt, seed=take.seed, window=choice["window"], sink=choice["sink"]
    ) as session:
        for index in range(-(-stream.window // stream.chunk) + TIMED_CHUNKS):
            begun = time.process_time()
            session.next_chunk()
            if index >= stream.window // stream.chunk:
                walls.append(session.last_chunk_ms)
                processor.append(1000 * (time.process_time() - begun))
        rss = psutil.Process().memory_info().rss
    cache = KVCache(config.transformer, stream, config.tokens_per_latent, dtype=models.dtype)
    return {
        "chunk_ms": percentile(walls, 50),
        "cpu_ms": percentile(processor, 50),
        "cache_bytes": cache.num_bytes,
        "rss_bytes": rss,
    }


@torch.no_grad()
def _tell(item: Item) -> list[Scores]:
    folder, takes, num_chunks, choice = item
    teller = StreamTeller(models_in(folder), [t.prompt for t in takes], [t.seed for t in takes], **choice)
    clips = teller.tell(num_chunks)
    return [take_scores(clip, take) for clip, take in zip(clips, takes, strict=True)]


def take_scores(pictures: Tensor, take: Take) -> Scores:
    """The scores of a take, (F, 3, H, W), in [0, 100], and its background change."""
    told = pictures[SKIPPED_FRAMES:]
    first, reading = look(told[: consistency.PIECE]), read(told[-LAST_SECONDS * FPS :])
    obeys = all(getattr(reading, name) == getattr(take.scene, name) for name in ATTRIBUTES)
    scores = consistency.take_consistency(first, told[consistency.PIECE :]).as_scores()
    change = consistency.background_change(told[:FPS], told[-FPS:])
    return scores | {"all_at_the_end": 100.0 * obeys, consistency.CHANGE: change}


def true_take_scores(models: ModelBundle, take: Take) -> Scores:
    """The scores of a few true seconds of a take through the codec."""
    num_frames = 1 + 4 * (TRUE_SECONDS * FPS // 4)
    return take_scores(true_story(models.vae, [(take.scene, num_frames)], take.seed), take)
