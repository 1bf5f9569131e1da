"""Causal initialisation: the generator's first weights, from a bidirectional teacher's ODE.

Sources: CausVid (arXiv:2412.07772) and Self-Forcing (arXiv:2506.08009). The teacher's ODE leads from noise to
a clip; the causal student, at the levels of its few steps, learns to go to the end in one step.
"""

from typing import NamedTuple

from torch import Tensor

from longlive.config import StreamConfig
from longlive.flow_matching import Timetable
from longlive.training.scores import Scores
from longlive.transformer import CausalWanTransformer


class OdePairs(NamedTuple):
    """A path of the teacher's ODE, seen at the student's steps.

    Attributes:
        noisy: (S, B, F, C, H, W), where the path was at each of the student's S steps, noisiest first.
        clean: (B, F, C, H, W), where it ended.
    """

    noisy: Tensor
    clean: Tensor


def ode_pairs(
    scores: Scores, noise: Tensor, text: Tensor, negative: Tensor, *, num_steps: int = 48
) -> OdePairs:
    """Solve the teacher's guided ODE from ``noise`` (B, F, C, H, W) to its end, by Euler's steps.

    Args:
        text, negative: (B or 1, text_len, text_dim), as in ``generator_loss``.
        num_steps: of the timetable; the student's levels are met exactly on the way.
    """
    raise NotImplementedError


def initialisation_loss(
    transformer: CausalWanTransformer,
    pairs: OdePairs,
    text: Tensor,
    *,
    timetable: Timetable,
    stream: StreamConfig,
    tokens_per_latent: int,
    steps: Tensor,
) -> Tensor:
    """Mean squared error of the causal student's clean latents, chunk after chunk through the cache.

    Args:
        pairs: what to learn.
        text: (B or 1, text_len, text_dim).
        steps: whole numbers (chunks,), which of the student's steps each chunk starts from.
    """
    raise NotImplementedError
