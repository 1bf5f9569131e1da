"""The last stage: other words for the same scene draw the same picture.

The training on clips learns rare words late ("ice", spelt letter by letter). Here the finished model teaches
itself: what its transformer draws for a scene in the plainest words it has to draw for it in any words.
Only the text encoder learns; nothing is decoded and no clips are needed.
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

LOOKED_AT, LEARNT_FROM = 96, 24
"""Captions drawn for a step, and those that it learns from: the worst of them, and as many at random."""


class Wordings(NamedTuple):
    """Pairs of captions of the same scenes."""

    plain: list[str]
    free: list[str]

    def at(self, chosen: list[int]) -> "Wordings":
        """The pairs of these numbers."""
        return Wordings(*([words[i] for i in chosen] for words in self))


def train_paraphrases(folder: Path, *, steps: int, seed: int = 0, lr: float = 2e-3) -> None:
    """Teach the text encoder of the released model in ``folder``, and write it there; in one process."""
    configure_cpu(1)
    models = load_models(folder)
    for _ in tqdm(teach_paraphrases(models, steps=steps, seed=seed, lr=lr), "words", steps):
        pass
    rewrite_model(models, folder)


def teach_paraphrases(models: ModelBundle, *, steps: int, seed: int, lr: float) -> Iterator[float]:
    """Teach the text encoder of ``models`` in place; yields each step's loss.

    Args:
        models: loaded in float32; its transformer stays as it is.
        steps: of AdamW, the second half with a falling learning rate.
        seed: of scenes, words and noise.
        lr: at first.
    """
    errors, timetable = _Errors(models), FlowSchedule.of(models.config)
    weights = list(models.text_encoder.model.requires_grad_(True).parameters())
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        rng, draws = np.random.default_rng([seed, 14, step]), torch.Generator().manual_seed(seed + step)
        words = _draw(rng)
        noise = torch.randn(LOOKED_AT, models.config.chunk, *models.config.latent_shape, generator=draws)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                rough = errors.of(words, noise[:, :1], torch.full((LOOKED_AT,), float(NUM_TIMESTEPS)))
            chosen = [*rough.topk(LEARNT_FROM // 2).indices.tolist(), *range(LEARNT_FROM // 2)]
            levels = torch.tensor(timetable.warped_steps)[torch.randint(2, (LEARNT_FROM,), generator=draws)]
            loss = errors.of(words.at(chosen), noise[chosen], levels).mean()
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 2 * (steps - step) / steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        yield float(loss.detach())
    models.text_encoder.model.requires_grad_(False)


class _Errors:
    """How far what is drawn for free words lies from what was drawn for plain ones at the start."""

    def __init__(self, models: ModelBundle) -> None:
        self.transformer = models.transformer.requires_grad_(False)
        self.timetable, self.learner = FlowSchedule.of(models.config), models.text_encoder
        self.teacher = copy.copy(models.text_encoder)
        self.teacher.model = copy.deepcopy(self.teacher.model).requires_grad_(False)

    def of(self, words: Wordings, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mean squared errors (B,) from noise (B, F, C, H, W) at ``timesteps`` (B,)."""
        with torch.no_grad():
            wanted = self._drawn(self.teacher, words.plain, noise, timesteps)
        return (self._drawn(self.learner, words.free, noise, timesteps) - wanted).square().mean((1, 2, 3, 4))

    def _drawn(self, encoder: TextEncoder, words: list[str], noise: Tensor, timesteps: Tensor) -> Tensor:
        prompt = self.transformer.read_prompt(read_texts(encoder, words))
        return predict_clean(self.transformer, noise, timesteps, prompt, self.timetable)


def _draw(rng: np.random.Generator) -> Wordings:
    scenes = [random_scene(rng) for _ in range(LOOKED_AT)]
    return Wordings(
        [plain_caption(scene) for scene in scenes], [caption(scene, rng, complete=True) for scene in scenes]
    )
