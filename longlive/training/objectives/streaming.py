"""Streaming long tuning: a sequence of overlapping clips that roll on, with one switch of the prompt.

Source: LongLive (arXiv:2509.22622), section on streaming long tuning, and the released schedule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.models.decoder import StreamingDecoder
from longlive.models.wan_vae import encode_pictures
from longlive.training.objectives.options import StreamingOptions
from longlive.training.objectives.rollout import Noise, Rollout


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

        Raises:
            ValueError: if no clip starts where the switch is to be, or only one of both is given.
        """
        if (switch_text is None) != (switch_start is None):
            raise ValueError("a switch needs both a second prompt and the clip's start from which it holds")
        if switch_start is not None and switch_start not in options.starts[1:]:
            raise ValueError(f"no clip after the first starts at latent {switch_start}: {options.starts}")
        self.rollout, self.options = rollout, options
        self._texts = [text] if switch_text is None else [text, switch_text]
        self._switch_start = switch_start
        self._still = still
        self._seen: Tensor | None = None

    @property
    def is_over(self) -> bool:
        """Whether another clip would pass the maximum."""
        return self.rollout.position > self.options.starts[-1]

    @property
    def is_switched(self) -> bool:
        """Whether the next clip belongs to the second prompt."""
        return self._switch_start is not None and self.rollout.position >= self._switch_start

    def next_clip(self, noise: Noise, *, exit_step: int, with_grad: bool = False) -> Clip:
        """Roll on by one clip; arguments as in ``Rollout.extend``.

        Raises:
            ValueError: if the sequence is over.
        """
        if self.is_over:
            raise ValueError(f"the sequence is over at latent {self.rollout.position}; start another one")
        start, text = self.rollout.position, self._texts[self.is_switched]
        self.rollout.detach()
        if start == self._switch_start:
            self.rollout.switch(text)
        num_new = self.options.new_latents if start else self.options.clip
        made = self.rollout.extend(num_new, text, noise, exit_step=exit_step, with_grad=with_grad)
        mask = torch.arange(self.options.clip, device=made.device) >= self.options.clip - num_new
        return Clip(self._framed(made), mask, text, start)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on in another process: tensors, and lists and dictionaries of them."""
        return {
            "rollout": self.rollout.state(),
            "texts": self._texts,
            "switch_start": self._switch_start,
            "seen": self._seen,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state()`` was taken."""
        self.rollout.restore(state["rollout"])
        self._texts, self._switch_start = state["texts"], state["switch_start"]
        self._seen = state["seen"]

    def _framed(self, made: Tensor) -> Tensor:
        """The new latents (B, F, C, H, W) after as many old ones as fill a clip, the first a still."""
        if self._seen is None:
            self._seen = made.detach()
            return made
        joined, size = torch.cat((self._seen, made), 1), self.options.clip
        self._seen = joined[:, -size:].detach()
        if made.shape[1] == size or self._still is None:
            return joined[:, -size:]
        first = self._still(joined[:, : 1 - size].detach())
        return torch.cat((first.to(made.dtype), joined[:, 1 - size :]), 1)


@torch.no_grad()
def image_latent_of(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """The last picture of a video, encoded as a still.

    Args:
        latents: (B, F, C, H, W), normalised, from the start of a video (or what is decoded as if it were).

    Returns:
        (B, 1, C, H, W).
    """
    pictures = StreamingDecoder(vae, fps=1).decode_latents(latents)
    return encode_pictures(vae, pictures[:, -1:])
