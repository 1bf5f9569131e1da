"""What an executor is asked to make: values that cross threads, processes and machines."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from longlive.config import Size
from longlive.generation.session_file import SessionRecord
from longlive.media.segments import Container, Counters
from longlive.serving.executors.messages import Playhead, Prompt
from longlive.serving.executors.packed import Packed
from longlive.serving.limits import Limits


@dataclass(frozen=True)
class ResumeState:
    """What was made so far, for a session that goes on with it.

    Attributes:
        record: prompts and digests of the chunks that were made.
        latents: of each chunk, (1, F, C, H, W) on the CPU.
        num_frames: pictures made.
        exact: go on bit for bit as if nothing had happened; else quickly (see Session.resume).
    """

    record: SessionRecord
    latents: tuple[Tensor, ...]
    num_frames: int
    exact: bool

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, the latents are bytes."""
        packed = tuple(Packed.of(latents) for latents in self.latents)
        return _unpack_state, (self.record, packed, self.num_frames, self.exact)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an executor is asked to make.

    Attributes:
        name: of the run, short and safe to show and log.
        seed: of the noise.
        prompts: what is still to come, by the chunk where each is due; a new video begins with the first.
        limits: how far it may go.
        container: format of the segments.
        scale: by which their pictures are enlarged; None for the model's ``live_scale``.
        size: of the model's pictures, one of its sizes; None for its own.
        resume: what was made before; None for a new video.
        playhead: where the viewer is, as far as is known.
        counters: at the end of the last MPEG-TS segment that was made.
        start: pictures that a new video begins with, uint8 (N, H, W, 3); None for none.
        record: of a video that is made again: its noise, its options and what it begins with, with the first
            of its prompts; None for another video, or where ``resume`` has it.
    """

    name: str
    seed: int
    prompts: tuple[Prompt, ...]
    limits: Limits
    container: Container = "mp4"
    scale: int | None = None
    size: Size | None = None
    resume: ResumeState | None = None
    playhead: Playhead | None = None
    counters: Counters = field(default_factory=dict)
    start: np.ndarray | None = field(default=None, repr=False, compare=False)
    record: SessionRecord | None = None


def _unpack_state(
    record: SessionRecord, packed: tuple[Packed, ...], num_frames: int, exact: bool
) -> ResumeState:
    return ResumeState(record, tuple(one.tensor() for one in packed), num_frames, exact)
