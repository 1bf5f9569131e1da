"""Streaming long tuning: a sequence of overlapping clips that roll on, with one switch of the prompt.

Source: LongLive (arXiv:2509.22622), section on streaming long tuning, and the released schedule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.decoder import StreamingDecoder, encode_pictures
from longlive.training.options import StreamingOptions
from longlive.training.rollout import Noise, Rollout


@dataclass(frozen=True)
class Clip:
    """What teacher and critic are shown.

    Attributes:
        latents: (B, clip, C, H, W); the new ones carry the generator's history.
        mask: bool (clip,), true for the new latents, which alone carry loss.
        text: (B or 1, text_len, text_dim), tokens of the prompt that made the new latents.
        start: number of the first new latent since the start of the sequence.
    """

    latents: Tensor
    mask: Tensor
    text: Tensor
    start: int


class Sequence:
    """A batch of videos that grow clip by clip, until another clip would pass the maximum."""

    def __init__(
        self,
        rollout: Rollout,
        options: StreamingOptions,
        text: Tensor,
        *,
        switch_text: Tensor | None = None,
        switch_start: int | None = None,
        still: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """A sequence at its beginning.

        Args:
            rollout: at its beginning; the sequence moves it on.
            text: (B or 1, text_len, text_dim), tokens of the first prompt.
            switch_text, switch_start: the second prompt, and the clip's start (one of
                ``options.switch_starts``) from which it holds; None for no switch.
            still: latents (B, F, C, H, W) from the start of a video -> the last picture as a still (B, 1, C,
                H, W), such as ``partial(still_of, vae)``; None leaves the first latent of a clip as it is.
        """
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        """Whether another clip would pass the maximum."""
        raise NotImplementedError

    def next_clip(self, noise: Noise, *, exit_step: int, with_grad: bool = False) -> Clip:
        """Roll on by one clip; arguments as in ``Rollout.extend``."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """All that is needed to go on in another process: tensors, whole numbers and dictionaries of them."""
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state()`` was taken."""
        raise NotImplementedError


@torch.no_grad()
def still_of(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """The last picture of a video, encoded as a still.

    Args:
        latents: (B, F, C, H, W), normalised, from the start of a video (or what is decoded as if it were).

    Returns:
        (B, 1, C, H, W).
    """
    pictures = StreamingDecoder(vae, fps=1).decode_latents(latents)
    return encode_pictures(vae, pictures[:, -1:])
