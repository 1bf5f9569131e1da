"""How sharp a codec's pictures are: scores of both decoders on fresh clips, beside the truth."""

import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from longlive.storybook.codec import psnr_of
from longlive.storybook.third_edition.clip_pool import FRAMES, random_story
from longlive.storybook.third_edition.codec import Codec, gradient_magnitude
from longlive.storybook.third_edition.world.drawing import draw_stories


@torch.no_grad()
def evaluate_codec(codec: Codec, num_frames: int, clips: int, size: tuple[int, int]) -> dict[str, float]:
    """Mean scores of both decoders on ``clips`` fresh clips of ``num_frames`` pictures.

    Every length has the same first scenes, so that lengths can be compared; the mean over few clips is rough.

    Returns:
        For each decoder (``wan_``, ``tiny_``): ``psnr`` in dB, that of the pixels at edges, and the ratio of
        the mean gradient magnitude to the truth's (``edge_energy``); with two clips or more also
        ``psnr_standard_error`` of the mean in dB.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for clip in range(clips):
        story = random_story(num_frames, np.random.default_rng([clip, 77]))
        truth = draw_stories([story], size=size, device=codec.mean.device).transpose(1, 2) * 2 - 1
        normal = codec.normalise(codec.encode(truth))
        for name, decoded in (("wan", codec.decode(normal)), ("tiny", codec.decode_tiny(normal))):
            for key, value in picture_scores(decoded.float().clamp(-1, 1), truth).items():
                values[f"{name}_{key}"].append(value)
    scores = {name: float(np.mean(found)) for name, found in values.items()}
    if clips > 1:
        for name in ("wan_psnr", "tiny_psnr"):
            scores[f"{name}_standard_error"] = float(np.std(values[name], ddof=1)) / clips**0.5
    return {name: round(value, 4) for name, value in scores.items()}


def picture_scores(decoded: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of pictures (B, 3, T, H, W) in [-1, 1] against the truth, see ``evaluate_codec``."""
    slopes, true_slopes = gradient_magnitude(decoded), gradient_magnitude(truth)
    edges = true_slopes.amax(1, keepdim=True).expand_as(truth) > 0.2
    square = (decoded - truth).square()
    return {
        "psnr": psnr_of(square.mean().item() / 4),
        "psnr_at_edges": psnr_of(square[edges].mean().item() / 4),
        "edge_energy": float(slopes.mean() / true_slopes.mean()),
    }


class CurveLog:
    """The learning curve of a training, over all its runs: one line of JSON per evaluation."""

    def __init__(self, path: Path, clips: int, size: tuple[int, int]) -> None:
        """Append to ``path`` the scores on ``clips`` fresh clips of ``size``; CPU seconds add up."""
        self._path, self._clips, self._size, self._before = path, clips, size, 0.0
        lines = path.read_text().splitlines() if path.exists() else []
        if lines:
            self._before = float(json.loads(lines[-1])["cpu_seconds"])

    def add(self, step: int, codec: Codec) -> None:
        """Score ``codec`` on clips that are the same each time, and write the scores down."""
        spent = round(self._before + time.process_time(), 1)
        with torch.autocast(codec.mean.device.type, torch.bfloat16):
            scores = evaluate_codec(codec, FRAMES, self._clips, self._size)
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "cpu_seconds": spent, **scores}) + "\n")
