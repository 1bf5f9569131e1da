"""Oracle scores of a bidirectional teacher: clips at the end of its guided ODE."""

from typing import Any

import torch

from longlive.evaluation.statistics import share
from longlive.evaluation.trials import ATTRIBUTES, SKIPPED_FRAMES, Trial, draw_trials
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.noise import draw_noise
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import StreamingDecoder, to_uint8
from longlive.storybook.world.oracle import Reading, read
from longlive.training.objectives.ode_initialisation import ode_pairs
from longlive.training.objectives.options import DmdOptions
from longlive.training.objectives.scores import ScoreModels
from longlive.training.objectives.texts import read_texts

CLIP_LATENTS = 21
BATCH = 10
NEGATIVE = ""

DEFINITIONS = {
    "guidance": "Of the teacher, in the usual convention; 1 is none.",
    "score": "% of clips of 21 latents whose attribute is read as asked for, the first 9 pictures left out.",
    "one_subject": "% of clips in which the oracle counts exactly one subject.",
}


def score_teacher(
    models: ModelBundle, *, guidances: list[float], num_steps: int, num_prompts: int, seed: int
) -> dict[str, Any]:
    """Scores in [0, 100] of clips at the end of the guided ODE, for each guidance scale.

    Args:
        models: their transformer attends to all latents of a clip at once.
        num_steps: Euler steps of the ODE.
    """
    trials = draw_trials(num_prompts, seed)
    rows = []
    for guidance in guidances:
        readings = [
            reading
            for first in range(0, num_prompts, BATCH)
            for reading in _read_clips(models, trials[first : first + BATCH], first, guidance, num_steps)
        ]
        rows.append({"guidance": guidance, "steps": num_steps} | _shares(readings, trials))
    return {"teachers": rows}


@torch.no_grad()
def _read_clips(
    models: ModelBundle, trials: list[Trial], first: int, guidance: float, num_steps: int
) -> list[Reading]:
    options = DmdOptions(guidance=guidance)
    scores = ScoreModels(models.transformer, models.transformer, FlowSchedule.of(models.config), options)
    shape = (CLIP_LATENTS, *models.config.latent_shape)
    noise = torch.stack(
        [draw_noise(shape, seed=first + i, take=0, chunk=0, step=0) for i in range(len(trials))]
    )
    text, negative = (
        read_texts(models.text_encoder, prompts) for prompts in ([t.prompt for t in trials], [NEGATIVE])
    )
    clean = ode_pairs(scores, noise, text, negative, num_steps=num_steps).clean
    pictures = StreamingDecoder(models.vae, models.config.fps).decode_latents(clean)
    return [read(torch.from_numpy(to_uint8(clip)).permute(0, 3, 1, 2)[SKIPPED_FRAMES:]) for clip in pictures]


def _shares(readings: list[Reading], trials: list[Trial]) -> dict[str, Any]:
    hits = {
        name: [getattr(r, name) == getattr(t.scene, name) for r, t in zip(readings, trials, strict=True)]
        for name in ATTRIBUTES
    } | {"one_subject": [reading.has_one_subject for reading in readings]}
    return {name: share(values).times(100).as_json() for name, values in hits.items()}
