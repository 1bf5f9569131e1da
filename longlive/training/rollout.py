"""The training-time stream: chunks through denoise.py, with gradients at one exit step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longlive.attention import PromptMemory
from longlive.config import StreamConfig
from longlive.denoise import denoise_chunk, recache, remember_chunk
from longlive.flow_matching import Timetable, add_noise
from longlive.kv_cache import ListCache
from longlive.training.options import Defects
from longlive.transformer import CausalWanTransformer

Noise = Callable[[int, int], Tensor]
"""(first latent of a chunk, step) -> standard normals (B, chunk, C, H, W), as ``denoise_chunk`` asks for them.

Asked for the step after the last only with ``Defects.noises_context``, for what is remembered.
"""


class Rollout:
    """A batch of streams under training: their memory, their last latents and their position.

    What is remembered carries no gradients, so each chunk's gradients end in its own exit pass, and memory
    stays flat however long a sequence is.
    """

    def __init__(
        self,
        transformer: CausalWanTransformer,
        timetable: Timetable,
        stream: StreamConfig,
        tokens_per_latent: int,
        *,
        clip: int = 21,
        defects: Defects | None = None,
    ) -> None:
        """A stream at its beginning; ``clip`` is what a released recache writes back, in latents."""
        raise NotImplementedError

    @property
    def position(self) -> int:
        """Latents made so far; also the number of the next one."""
        raise NotImplementedError

    def extend(
        self, num_latents: int, text: Tensor, noise: Noise, *, exit_step: int, with_grad: bool = False
    ) -> Tensor:
        """The next latents (B, num_latents, C, H, W), a whole number of chunks, and remember them.

        Args:
            text: (B or 1, text_len, text_dim), the prompt's tokens.
            noise: see ``Noise``.
            exit_step: index of the step whose clean latents are taken, the same for all chunks.
            with_grad: let gradients flow through that step.
        """
        raise NotImplementedError

    def switch(self, text: Tensor) -> None:
        """Make the memory of the last latents anew under another prompt (KV-recache); nothing at position 0."""
        raise NotImplementedError

    def detach(self) -> None:
        """Cut what is remembered off from its history, as between two clips."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """All that is needed to go on in another process: tensors and whole numbers."""
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state()`` was taken."""
        raise NotImplementedError
