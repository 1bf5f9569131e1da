"""The values that pass between the stages, one frozen type for each arrow.

``PromptText -> PromptEmbedding -> LatentChunk -> FrameChunk -> MediaSegment -> browser``
"""

import hashlib
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from longlive.config import SwitchMode
from longlive.prompts import PromptText

SWITCH_MODES: tuple[str, ...] = get_args(SwitchMode)
PictureWarning = Literal["still", "washed_out"]
"""What is wrong with the pictures: they hardly move, or have lost their colours."""


@dataclass(frozen=True)
class PromptEmbedding:
    """A prompt as the transformer reads it.

    Attributes:
        text: the cleaned prompt.
        tokens: (1, text_len, text_dim); rows beyond the prompt's own tokens are zero.
        is_truncated: whether the prompt had more than ``text_len`` tokens, so that its end was left out.
    """

    text: PromptText
    tokens: Tensor
    is_truncated: bool = False


def latents_digest(latents: Tensor) -> str:
    """SHA-256 of the latents as float32, the first 16 hex digits."""
    return hashlib.sha256(latents.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


class LatentsDigest:
    """The digest of a chunk's latents, computed once, by whoever asks first; threads may ask at once."""

    def __init__(self, latents: Tensor) -> None:
        """Compute nothing yet."""
        self._latents: Tensor | None = latents
        self._value = ""
        self._lock = threading.Lock()

    @property
    def value(self) -> str:
        """16 hex digits, as ``latents_digest`` gives them."""
        with self._lock:
            if self._latents is not None:
                self._value, self._latents = latents_digest(self._latents), None
            return self._value


@dataclass(frozen=True)
class StreamPlace:
    """A boundary between two chunks, for a decoder that has to go back to it.

    Attributes:
        first_frame: number of the picture that comes next, since the start of the video.
        latents: (1, F, C, H, W) of each chunk before it, from the last cut or as far back as they are kept.
    """

    first_frame: int
    latents: tuple[Tensor, ...]


@dataclass(frozen=True)
class AttendedChunks:
    """The earlier chunks whose keys and values a chunk was made from.

    Attributes:
        sink: numbers of those that are always kept.
        window: numbers of the newest ones beside them.
        switch: how the cache was carried over to the prompt that begins with this chunk (``soft``: recached);
            None if none does.
    """

    sink: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    switch: SwitchMode | None = None


@dataclass(frozen=True)
class PictureStatistics:
    """Figures of a chunk's pictures; see media/picture_statistics.py.

    Attributes:
        brightness, saturation, contrast: means over the pictures, in % of white.
        motion: mean difference of a picture to the one a quarter of a second before, in % of white.
        layout: mean colour of each field of a coarse grid, as hex digits.
    """

    brightness: float
    saturation: float
    contrast: float
    motion: float
    layout: str


@dataclass(frozen=True)
class ChunkReport:
    """What is known of a chunk beside its pictures.

    Attributes:
        attended: what it was made from; None where a session does not say.
        statistics: of its pictures.
        similarity: of its pictures to those of the sink, in [0, 1]; None where these are not known.
        fit: how much of what its prompt names is seen, in [0, 1]; None where nobody has judged it.
        warning: what is wrong with the pictures, if anything.
    """

    attended: AttendedChunks | None = None
    statistics: PictureStatistics | None = None
    similarity: float | None = None
    fit: float | None = None
    warning: PictureWarning | None = None


@dataclass(frozen=True)
class LatentChunk:
    """The clean latents of one chunk, or of a part of it.

    Attributes:
        index: number of the chunk, from 0.
        prompt_index: number of the prompt that made it, from 0 in order of use.
        prompt: that prompt's text.
        first_latent: number of its first latent frame since the start of the video, the last hard cut or the
            start of the rollout; at 0 the decoder starts afresh.
        latents: (1, F, C, H, W), normalised as the transformer sees them.
        ready: CUDA event after which the latents are computed; None where no wait is needed.
        ends_chunk: whether this is the last part of the chunk.
        lead_in: (1, 1, C, H, W), a latent that follows those of the chunk before: all its pictures but the
            last are shown before this chunk's own. Only where a rollout repeats the end of the one before.
        before: where the chunk begins, if it does not follow the chunk that was made last (after a rewind).
        attended: the chunks that it was made from.
        chunk_digest: shared by the chunk and its parts; see ``digest``.
    """

    index: int
    prompt_index: int
    prompt: str
    first_latent: int
    latents: Tensor
    ready: Any = None
    ends_chunk: bool = True
    lead_in: Tensor | None = None
    before: StreamPlace | None = field(default=None, repr=False, compare=False)
    attended: AttendedChunks | None = None
    chunk_digest: LatentsDigest = field(default=None, repr=False, compare=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Prepare the digest of a whole chunk."""
        if self.chunk_digest is None:
            object.__setattr__(self, "chunk_digest", LatentsDigest(self.latents))

    @property
    def digest(self) -> str:
        """Digest of the whole chunk's latents, from a part of it too; computed once."""
        return self.chunk_digest.value

    def parts(self) -> "list[LatentChunk]":
        """Split a chunk that the viewer waits for into its first latent and the rest; others stay whole.

        Waited for are the first chunk of a video, and one that comes in the place of dropped ones. The
        pictures of its first latent (one of a video's or a cut's first, else 4) are sent ahead.
        """
        is_awaited = self.index == 0 or self.before is not None
        if not is_awaited or self.latents.shape[1] == 1:
            return [self]
        head = replace(self, latents=self.latents[:, :1], ends_chunk=False)
        rest = self.latents[:, 1:]
        return [
            head,
            replace(self, latents=rest, first_latent=self.first_latent + 1, before=None, lead_in=None),
        ]


@dataclass(frozen=True)
class FrameChunk:
    """The decoded pictures of one chunk, or of a part of it.

    Attributes:
        index, prompt_index, prompt, ends_chunk: as in the LatentChunk that it was decoded from.
        first_frame: number of its first picture since the start of the video.
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
        """Time of its first picture, in seconds since the start of the video."""
        return self.first_frame / self.fps

    @property
    def seconds(self) -> float:
        """Duration at normal speed."""
        return len(self.frames) / self.fps

    def until(self, end_frame: float) -> "FrameChunk":
        """The chunk without its pictures from number ``end_frame`` of the video on."""
        if self.first_frame + len(self.frames) <= end_frame:
            return self
        return replace(self, frames=self.frames[: max(0, int(end_frame) - self.first_frame)])


@dataclass(frozen=True)
class MediaSegment:
    """One chunk, or a part of it, as H.264, playable by itself.

    Attributes:
        index, prompt_index, prompt, first_frame, fps, ends_chunk: as in the FrameChunk that it was made of.
        num_frames: number of pictures.
        data: the bytes, of the type that ``mime`` names.
        mime: MIME type with codecs.
        thumbnail: of the chunk, in the segment that ends it; empty in others and where nobody needs it.
        report: on the chunk, in the segment that ends it; None as for the thumbnail.
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
    thumbnail: bytes = b""
    report: ChunkReport | None = None

    @property
    def seconds(self) -> float:
        """Duration at normal speed."""
        return self.num_frames / self.fps
