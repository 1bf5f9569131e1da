"""The values that travel: one frozen type for each arrow of the data's way.

``str -> PromptEmbedding -> LatentChunk -> FrameChunk -> MediaSegment -> browser``
"""

from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from torch import Tensor

from longlive.config import SwitchMode

SWITCH_MODES: tuple[str, ...] = get_args(SwitchMode)


@dataclass(frozen=True)
class PromptEmbedding:
    """A prompt as the transformer reads it.

    Attributes:
        text: the prompt after cleaning.
        tokens: (1, text_len, text_dim); rows beyond the prompt's own tokens are zero.
        is_shortened: whether the prompt had more than ``text_len`` tokens, so that its end was left out.
    """

    text: str
    tokens: Tensor
    is_shortened: bool = False


@dataclass(frozen=True)
class LatentChunk:
    """The clean latents of one chunk, or of a part of it.

    Attributes:
        index: number of the chunk, from 0.
        prompt_index: number of the prompt that made it, from 0 in order of use.
        prompt: that prompt's text.
        first_latent: number of its first latent frame since the start of the take or the last hard cut;
            0 tells the decoder to start afresh.
        latents: (1, F, C, H, W), normalised as the transformer sees them.
        ready: event of their device after which they are there; None if whoever asks has to wait anyway.
        ends_chunk: whether no more of the chunk follows.
    """

    index: int
    prompt_index: int
    prompt: str
    first_latent: int
    latents: Tensor
    ready: Any = None
    ends_chunk: bool = True

    def parts(self) -> "list[LatentChunk]":
        """What to decode and send by itself, in order: of a take's first chunk, the first latent goes ahead.

        Its one picture is what the viewer waits for. At a hard cut nobody waits: the chunk stays whole.
        """
        if self.index > 0 or self.latents.shape[1] == 1:
            return [self]
        head = replace(self, latents=self.latents[:, :1], ends_chunk=False)
        return [head, replace(self, latents=self.latents[:, 1:], first_latent=self.first_latent + 1)]


@dataclass(frozen=True)
class FrameChunk:
    """The pictures of one chunk, or of a part of it.

    Attributes:
        index, prompt_index, prompt, ends_chunk: as in the LatentChunk that it was decoded from.
        first_frame: number of its first picture since the start of the take.
        frames: uint8 (F, H, W, 3), RGB.
        fps: pictures per second.
    """

    index: int
    prompt_index: int
    prompt: str
    first_frame: int
    frames: np.ndarray
    fps: int
    ends_chunk: bool = True

    @property
    def start_seconds(self) -> float:
        """When its first picture is shown, in seconds since the start of the take."""
        return self.first_frame / self.fps

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.frames) / self.fps


@dataclass(frozen=True)
class MediaSegment:
    """One chunk, or a part of it, as H.264, playable by itself.

    Attributes:
        index, prompt_index, prompt, first_frame, fps, ends_chunk: as in the FrameChunk that it was made of.
        num_frames: number of pictures.
        data: the bytes, of the type that ``mime`` names.
        mime: MIME type with codecs.
    """

    index: int
    prompt_index: int
    prompt: str
    first_frame: int
    num_frames: int
    fps: int
    data: bytes
    mime: str
    ends_chunk: bool = True

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return self.num_frames / self.fps
