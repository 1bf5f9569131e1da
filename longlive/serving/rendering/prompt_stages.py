"""What the first pictures of a prompt take in a worker, stage by stage, since it was taken up."""

import time

from longlive.generation.session import Session
from longlive.generation.stopwatch import Stopwatch

REMEMBER = "remember"
LATENT_STAGES = (REMEMBER, "text", "switch", "denoise")
STAGES = ("waiting", REMEMBER, "text", "recache", "denoise", "decode", "encode", "other")
"""In order; ``remember`` is the clean pass of the chunk before, which only ``keep`` needs, ``other`` what is
none of the others. The worker knows nothing of ``waiting``, which comes before all that it does."""


class PromptStages:
    """Times the first segments of prompts; one thread makes latents, and one, maybe another, the segments."""

    def __init__(self) -> None:
        """Nothing is timed yet."""
        self._begun: dict[int, float] = {}
        self._latents: dict[int, Stopwatch] = {}

    def begin(self, chunk: int) -> None:
        """A prompt is taken up with this chunk, which starts now."""
        for dropped in [one for one in list(self._begun) if one > chunk]:
            self._begun.pop(dropped, None)
        self._begun[chunk] = time.perf_counter()

    def add_latents(self, chunk: int, session: Session | None) -> None:
        """The latents of a chunk, made by ``session``, are there."""
        if session is not None and chunk in self._begun:
            self._latents[chunk] = session.latents_stopwatch

    def finish(self, chunk: int, session: Session | None, encode_ms: float) -> dict[str, float] | None:
        """Milliseconds by stage up to now, where the first segment of a prompt has just been made.

        Args:
            chunk: number of the segment's chunk.
            session: has decoded it.
            encode_ms: that encoding it took.
        """
        stopwatch = self._latents.pop(chunk, None)
        begun = self._begun.pop(chunk, None)
        if stopwatch is None or begun is None or session is None:
            return None
        ms = stopwatch.ms_of(*LATENT_STAGES) | session.decode_ms | {"encode": encode_ms}
        ms["recache"] = ms.pop("switch", 0.0)
        passed_ms = (time.perf_counter() - begun) * 1000
        return ms | {"other": max(0.0, passed_ms - sum(ms.values()))}
