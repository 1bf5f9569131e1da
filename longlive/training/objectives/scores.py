"""Teacher (real score) and critic (fake score): predictions of clean clips by bidirectional transformers.

They have the generator's class and are called without a cache, so all latents of a clip attend to each other.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from longlive.generation.flow_matching import FlowSchedule, add_noise, prediction_to_clean
from longlive.models.attention import PromptKV
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.options import DmdOptions
from longlive.training.objectives.quirks import ReleasedQuirks

RELEASED_SCORE_SHIFT = 8.0


def predict_clean(
    transformer: CausalWanTransformer,
    noisy: Tensor,
    timesteps: Tensor,
    prompt: PromptKV,
    schedule: FlowSchedule,
) -> Tensor:
    """The clean latents that a bidirectional transformer predicts from a noisy clip.

    Args:
        noisy: (B, F, C, H, W).
        timesteps: (B,), in [0, 1000].
        schedule: for the noise level of each timestep.

    Returns:
        Like ``noisy``.
    """
    output = transformer(noisy, timesteps.unsqueeze(1), prompt)
    sigma = schedule.sigmas_of(timesteps).view(-1, 1, 1, 1, 1)
    return prediction_to_clean(output, noisy, sigma, transformer.config.prediction)


@dataclass(frozen=True)
class ScoreModels:
    """Teacher and critic, with the noise levels and guidance at which they are evaluated.

    Attributes:
        schedule: the generator's; it determines how noise is added.
    """

    teacher: CausalWanTransformer
    critic: CausalWanTransformer
    schedule: FlowSchedule
    options: DmdOptions = field(default_factory=DmdOptions)
    quirks: ReleasedQuirks = field(default_factory=ReleasedQuirks)

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Timesteps (B,) for ``uniform`` (B,) in [0, 1): integers, then shifted and clamped."""
        even = (uniform * 1000).floor() / 1000
        shift = self.schedule.shift
        warped = 1000 * shift * even / (1 + (shift - 1) * even)
        return warped.clamp(self.options.min_timestep, self.options.max_timestep)

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """Noise levels (B,) of ``timesteps`` (B,)."""
        return self.schedule.sigmas_of(timesteps)

    def noisy(self, clip: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """``clip`` (B, F, C, H, W), detached, with ``noise`` added at the level of ``timesteps`` (B,)."""
        return add_noise(clip.detach(), noise, self.sigmas(timesteps).view(-1, 1, 1, 1, 1))

    @torch.no_grad()
    def teacher_clean(self, noisy: Tensor, timesteps: Tensor, text: Tensor, negative: Tensor) -> Tensor:
        """The teacher's prediction with guidance; ``text`` and ``negative``: (B or 1, text_len, text_dim)."""
        positive, unguided = (
            predict_clean(
                self.teacher, noisy, timesteps, self.teacher.read_prompt(tokens), self._score_schedule
            )
            for tokens in (text, negative)
        )
        origin = positive if self.quirks.doubles_guidance else unguided
        return origin + self.options.guidance * (positive - unguided)

    def critic_clean(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The critic's prediction, without guidance; with gradients if they are enabled."""
        prompt = self.critic.read_prompt(text)
        return predict_clean(self.critic, noisy, timesteps, prompt, self._score_schedule)

    @property
    def _score_schedule(self) -> FlowSchedule:
        """The schedule that turns velocities of teacher and critic into clean latents."""
        if self.quirks.has_two_schedules:
            return FlowSchedule(RELEASED_SCORE_SHIFT, self.schedule.steps)
        return self.schedule
