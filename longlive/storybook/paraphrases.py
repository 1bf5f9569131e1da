"""The last stage: self-distillation of the text encoder over paraphrases.

Training on clips learns rare words late ("ice", spelt letter by letter). Here the finished model is its own
teacher: the transformer's prediction for any caption of a scene has to match that for its plainest caption.
Only the text encoder is trained; nothing is decoded and no clips are needed.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from longlive.generation.flow_matching import NUM_TIMESTEPS, FlowSchedule
from longlive.models.bundle import ModelBundle
from longlive.models.text_encoder import TextEncoder
from longlive.runtime.allocator import configure_cpu
from longlive.storybook.release import rewrite_model
from longlive.storybook.world.captions import caption, plain_caption
from longlive.storybook.world.drawing import random_scene
from longlive.training.objectives.scores import predict_clean
from longlive.training.objectives.texts import read_texts
from longlive.weights.loading import load_models

NUM_CANDIDATES, BATCH = 96, 24
"""Captions drawn for a step, and those trained on: half of them the worst, half random."""


class CaptionPairs(NamedTuple):
    """A plain and a free caption of each scene."""

    plain: list[str]
    free: list[str]

    def at(self, chosen: list[int]) -> "CaptionPairs":
        """The pairs at these indices."""
        return CaptionPairs(*([captions[i] for i in chosen] for captions in self))


def train_paraphrases(folder: Path, *, steps: int, seed: int = 0, lr: float = 2e-3) -> None:
    """Train the text encoder of the released model in ``folder``, and write the model back."""
    configure_cpu(1)
    models = load_models(folder)
    for _ in tqdm(teach_paraphrases(models, steps=steps, seed=seed, lr=lr), "words", steps):
        pass
    rewrite_model(models, folder)


def teach_paraphrases(models: ModelBundle, *, steps: int, seed: int, lr: float) -> Iterator[float]:
    """Train the text encoder of ``models`` in place; yield each step's loss.

    Args:
        models: loaded in float32; the transformer is not changed.
        steps: of AdamW, the second half with a falling learning rate.
        seed: of scenes, captions and noise.
        lr: initial learning rate.
    """
    errors, schedule = _Errors(models), FlowSchedule.of(models.config)
    weights = list(models.text_encoder.model.requires_grad_(True).parameters())
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        rng, draws = np.random.default_rng([seed, 14, step]), torch.Generator().manual_seed(seed + step)
        pairs = _draw(rng)
        noise = torch.randn(NUM_CANDIDATES, models.config.chunk, *models.config.latent_shape, generator=draws)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                first = errors.of(pairs, noise[:, :1], torch.full((NUM_CANDIDATES,), float(NUM_TIMESTEPS)))
            chosen = [*first.topk(BATCH // 2).indices.tolist(), *range(BATCH // 2)]
            levels = torch.tensor(schedule.warped_steps)[torch.randint(2, (BATCH,), generator=draws)]
            loss = errors.of(pairs.at(chosen), noise[chosen], levels).mean()
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 2 * (steps - step) / steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        yield float(loss.detach())
    models.text_encoder.model.requires_grad_(False)


class _Errors:
    """Errors of predictions for free captions against a frozen model's for plain ones."""

    def __init__(self, models: ModelBundle) -> None:
        self.transformer = models.transformer.requires_grad_(False)
        self.schedule, self.learner = FlowSchedule.of(models.config), models.text_encoder
        self.teacher = copy.copy(models.text_encoder)
        self.teacher.model = copy.deepcopy(self.teacher.model).requires_grad_(False)

    def of(self, pairs: CaptionPairs, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mean squared errors (B,) from noise (B, F, C, H, W) at ``timesteps`` (B,)."""
        with torch.no_grad():
            target = self._predict(self.teacher, pairs.plain, noise, timesteps)
        return (
            (self._predict(self.learner, pairs.free, noise, timesteps) - target).square().mean((1, 2, 3, 4))
        )

    def _predict(self, encoder: TextEncoder, captions: list[str], noise: Tensor, timesteps: Tensor) -> Tensor:
        prompt = self.transformer.read_prompt(read_texts(encoder, captions))
        return predict_clean(self.transformer, noise, timesteps, prompt, self.schedule)


def _draw(rng: np.random.Generator) -> CaptionPairs:
    scenes = [random_scene(rng) for _ in range(NUM_CANDIDATES)]
    return CaptionPairs(
        [plain_caption(scene) for scene in scenes], [caption(scene, rng, complete=True) for scene in scenes]
    )
