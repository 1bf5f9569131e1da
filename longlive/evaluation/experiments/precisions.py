"""Table B of the paper: size, speed and quality of a model in several precisions."""

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longlive.benchmark.steady_pass import steady_pass
from longlive.errors import ConfigError
from longlive.evaluation.experiments.ranks import oracle_scores
from longlive.evaluation.statistics import mean
from longlive.evaluation.trials import draw_trials
from longlive.generation.session import Session
from longlive.models.bundle import ModelBundle
from longlive.runtime.quantization import weight_bytes
from longlive.runtime.startup import RuntimeOptions, ready_models

PRECISIONS = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
    "fp8": {"quantize": "fp8"},
}
"""Runtime options of each; int8 and fp8 apply to the matrix products of the blocks."""
ORACLE_KNOWS = "storybook"
_PASSES = 20

DEFINITIONS = {
    "weight_bytes": "Of the transformer in memory.",
    "pass_ms": "Median of one denoising pass over a chunk with a full window; on a CPU, processor time.",
    "speed_up": "pass_ms of the first precision over that of this one.",
    "psnr_first": "dB between the latents of the first chunk and those of the first precision, of the same "
    "noise; the peak is the range of the latter.",
    "psnr_last": "The same for the last chunk: how far the videos have diverged.",
    "before": "% of prompts whose attribute the oracle reads as asked for before the switch of the action.",
    "after": "The same, for the new prompt, within 2.25 s of a soft switch of the action.",
    "one_subject": "% of clips in which the oracle counts exactly one subject.",
    "ceiling": "The same readings of the true pictures of the same trials through the codec.",
}


def compare_precisions(
    name: str, precisions: Sequence[str], *, num_prompts: int, num_chunks: int, seed: int
) -> dict[str, Any]:
    """Size, speed and quality of a model in each precision, loaded one after another.

    Args:
        name: of the model; only the storybook model is scored by the oracle.
        precisions: from PRECISIONS; the others are compared with the first.
        num_chunks: of each video that is compared.
    """
    if num_chunks < 1:
        raise ConfigError("chunks", num_chunks, "a comparison needs at least 1 chunk", "Use 16.")
    unknown = [one for one in precisions if one not in PRECISIONS]
    if unknown:
        rule = f"known are {', '.join(PRECISIONS)}"
        raise ConfigError("precisions", unknown, rule, "Correct --precisions.")
    rows: list[dict[str, Any]] = []
    exact: list[list[Tensor]] = []
    for precision in precisions:
        models = ready_models(name, RuntimeOptions(**PRECISIONS[precision]), lambda _: None)  # type: ignore[arg-type]
        latents = _latents(models, num_prompts, num_chunks, seed)
        exact = exact or latents
        pairs = list(zip(latents, exact, strict=True))
        row: dict[str, Any] = {
            "precision": precision,
            "weight_bytes": weight_bytes(models.transformer),
            "pass_ms": pass_ms(models),
            "psnr_first": mean([psnr(ours[0], other[0]) for ours, other in pairs]),
            "psnr_last": mean([psnr(ours[-1], other[-1]) for ours, other in pairs]),
        }
        row = {key: part.as_json() if key.startswith("psnr") else part for key, part in row.items()}
        row["speed_up"] = round((rows[0] if rows else row)["pass_ms"] / row["pass_ms"], 3)
        if models.config.name == ORACLE_KNOWS:
            row |= oracle_scores(models, num_prompts=num_prompts, seed=seed, num_workers=1)
        rows.append(row)
    return {"precisions": rows}


def psnr(latents: Tensor, exact: Tensor, *, most: float = 200.0) -> float:
    """Peak signal-to-noise ratio in dB, at most ``most``, which equal latents reach."""
    error = (latents.double() - exact.double()).square().mean().item()
    peak = (exact.max() - exact.min()).item()
    return most if error == 0 else min(most, 10 * math.log10(peak**2 / error))


def pass_ms(models: ModelBundle) -> float:
    """Median milliseconds of a steady pass."""
    is_cpu, run = models.device.type == "cpu", steady_pass(models)
    clock = time.process_time if is_cpu else time.perf_counter
    times = []
    for number in range(_PASSES + 2):
        begun = clock()
        run()
        if not is_cpu:
            torch.cuda.synchronize(models.device)
        if number >= 2:  # the first ones warm up
            times.append((clock() - begun) * 1000)
    return round(statistics.median(times), 1)


def _latents(models: ModelBundle, num_prompts: int, num_chunks: int, seed: int) -> list[list[Tensor]]:
    """The latents of each chunk of one video per prompt."""
    videos = []
    for number, trial in enumerate(draw_trials(num_prompts, seed)):
        with Session(models, trial.prompt, seed=seed + number) as session:
            videos.append([session.next_latents().latents.float().cpu() for _ in range(num_chunks)])
    return videos
