"""Teacher (real score) and critic (fake score): what a bidirectional transformer takes a noisy clip for.

They are the generator's own class, called without a cache: all latents of a clip see each other.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from longlive.generation.flow_matching import FlowSchedule, add_noise, prediction_to_clean
from longlive.models.attention import PromptMemory
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.options import DmdOptions, ReleasedQuirks

RELEASED_SCORE_SHIFT = 8.0


def predict_clean(
    transformer: CausalWanTransformer,
    noisy: Tensor,
    timesteps: Tensor,
    prompt: PromptMemory,
    timetable: FlowSchedule,
) -> Tensor:
    """The clean latents that a bidirectional transformer sees in a noisy clip.

    Args:
        noisy: (B, F, C, H, W).
        timesteps: (B,), in [0, 1000].
        timetable: gives the noise level of each timestep.

    Returns:
        Like ``noisy``.
    """
    output = transformer(noisy, timesteps.unsqueeze(1), prompt)
    sigma = timetable.sigmas_of(timesteps).view(-1, 1, 1, 1, 1)
    return prediction_to_clean(output, noisy, sigma, transformer.config.prediction)


@dataclass(frozen=True)
class Scores:
    """The two judges of a clip, and how both are asked.

    Attributes:
        timetable: the generator's; noise is mixed in by it.
    """

    teacher: CausalWanTransformer
    critic: CausalWanTransformer
    timetable: FlowSchedule
    options: DmdOptions = field(default_factory=DmdOptions)
    defects: ReleasedQuirks = field(default_factory=ReleasedQuirks)

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Timesteps (B,): whole ones chosen by ``uniform`` (B,) in [0, 1), then shifted and clamped."""
        even = (uniform * 1000).floor() / 1000
        shift = self.timetable.shift
        warped = 1000 * shift * even / (1 + (shift - 1) * even)
        return warped.clamp(self.options.min_timestep, self.options.max_timestep)

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """Noise levels (B,) of ``timesteps`` (B,)."""
        return self.timetable.sigmas_of(timesteps)

    def noisy(self, clip: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """``clip`` (B, F, C, H, W), detached, with ``noise`` mixed in at the level of ``timesteps`` (B,)."""
        return add_noise(clip.detach(), noise, self.sigmas(timesteps).view(-1, 1, 1, 1, 1))

    @torch.no_grad()
    def teacher_clean(self, noisy: Tensor, timesteps: Tensor, text: Tensor, negative: Tensor) -> Tensor:
        """The teacher's clean latents, guided; ``text`` and ``negative`` are (B or 1, text_len, text_dim)."""
        wanted, unwanted = (
            predict_clean(
                self.teacher, noisy, timesteps, self.teacher.read_prompt(tokens), self._score_timetable
            )
            for tokens in (text, negative)
        )
        origin = wanted if self.defects.doubles_guidance else unwanted
        return origin + self.options.guidance * (wanted - unwanted)

    def critic_clean(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The critic's clean latents; it is never guided, and carries gradients if they are enabled."""
        prompt = self.critic.read_prompt(text)
        return predict_clean(self.critic, noisy, timesteps, prompt, self._score_timetable)

    @property
    def _score_timetable(self) -> FlowSchedule:
        """By which velocities of teacher and critic become clean latents."""
        if self.defects.has_two_timetables:
            return FlowSchedule(RELEASED_SCORE_SHIFT, self.timetable.steps)
        return self.timetable
