"""Prompts in, clean latents out: makes one stream's chunks in order, or goes on from kept ones.

The clean pass, which leaves a chunk in the cache, comes at the beginning of the next: no viewer waits for it,
and a soft or hard switch, which rebuilds the cache, spares it.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from longlive.chunks import LatentChunk, StreamPlace, SwitchMode
from longlive.config import StreamConfig
from longlive.errors import ConfigError, SessionClosedError
from longlive.generation.cuda_streams import SideStream, mark
from longlive.generation.latent_stream import LatentStream
from longlive.generation.lookahead import OnLatents, OnStep, ignore_step
from longlive.generation.noise import NoiseSource
from longlive.generation.prompt_timeline import PromptTimeline
from longlive.generation.resume import ResumePlan
from longlive.generation.session_file import PromptEvent
from longlive.generation.start_clip import Start, pack_latents, start_latents
from longlive.generation.stopwatch import Stopwatch
from longlive.models.bundle import ModelBundle
from longlive.models.rollouts import encode_again
from longlive.prompts import PromptText

logger = logging.getLogger(__name__)

Turn = Callable[[], AbstractContextManager[Any]]


class ChunkGenerator:
    """Makes the latents of a stream, chunk by chunk, under the prompts of its timeline.

    Attributes:
        models: may be replaced by the same model run with less memory.
        timeline: the prompts.
        noise: of its chunks.
        truncated_prompt: the prompt in use, if it has too many tokens for the model; else None.
        digests: of each chunk's latents.
        num_frames: pictures that the chunks made so far decode to.
        stopwatch: times the stages of the last chunk.
        packed_start: what the stream began with, for the session file; None if nothing was given.
    """

    def __init__(
        self,
        models: ModelBundle,
        stream: StreamConfig,
        timeline: PromptTimeline,
        *,
        seed: int,
        take: int,
        start: Start | None = None,
    ) -> None:
        """Reserve the cache; nothing is computed before the first chunk, but that ``start`` is encoded.

        ``start`` takes the place of the first chunks, up to a cut.
        """
        self.models = models
        self.timeline = timeline
        self.truncated_prompt: PromptText | None = None
        self.digests: list[str] = []
        self.num_frames = 0
        self.stopwatch = Stopwatch(models.device)
        shape = (1, stream.chunk, *models.config.latent_shape)
        self.noise = NoiseSource(seed, take, shape, models.device, models.dtype)
        given = None if start is None else start_latents(models, start, stream)
        self.packed_start = None if given is None else pack_latents(given)
        self._start = () if given is None else given.split(stream.chunk, dim=1)
        self._latents: LatentStream | None = LatentStream(models, stream)
        self._unfinished: LatentChunk | None = None
        # Chunks that the rollout which has just begun repeats, and the latent to decode before them.
        self._repeated: deque[Tensor] = deque()
        self._lead_in: Tensor | None = None
        self._is_prompt_read = False
        self._is_rewound = False
        self._digest_stream = SideStream(models.device)

    @property
    def num_chunks(self) -> int:
        """How many chunks have been made; also the index of the next one."""
        return len(self.digests)

    @property
    def latents(self) -> LatentStream:
        """The latents and the cache; SessionClosedError after ``close``."""
        if self._latents is None:
            raise SessionClosedError("This session is closed. Start a new one, or load its session file.")
        return self._latents

    @property
    def place(self) -> StreamPlace:
        """Where the next chunk begins, for a decoder that is elsewhere."""
        recent = tuple(self.latents.recent)
        return StreamPlace(self.num_frames, recent[: len(recent) - self._num_unseen])

    def close(self) -> None:
        """Free the cache and the latents."""
        self._latents = self._unfinished = None
        self._digest_stream.close()

    def add_prompt(self, prompt: PromptText, switch: SwitchMode, *, queue: bool) -> int:
        """Go on with another prompt; arguments, result and errors as for ``Session.set_prompt``."""
        waits = self.latents.cache.has_gaps and switch == "keep"
        if waits and not self.timeline.num_pending:
            rule = "chunks were dropped, so there is no cache to keep before the next one"
            raise ConfigError("switch", switch, rule, "Use 'soft' or 'hard'.")
        if not queue:
            self.timeline.drop_pending(keep=1 if waits else 0)
        return self.timeline.append(prompt, switch, next_chunk=self.num_chunks).chunk

    def make_chunk(self, on_latents: OnLatents, on_step: OnStep) -> LatentChunk:
        """The next chunk; arguments and errors as for ``Session.next_latents``."""
        self.latents.cache.set_storage_dtype(self.models.runtime.cache_dtype or self.models.dtype)
        if self._unfinished is None:
            self.stopwatch.clear()
            self._remember_last()
            self._unfinished = self._denoise(on_step)
            on_latents(self._unfinished)
        chunk = self._unfinished
        with self._digest_stream.after(chunk.ready, chunk.latents):
            digest = chunk.digest
        self._append(chunk.latents, digest, is_remembered=False, has_lead_in=chunk.lead_in is not None)
        self._unfinished = None
        return chunk

    @property
    def earliest_rewind(self) -> int:
        """The lowest number of chunks that ``rewind`` can go back to: prompts in use stay in use."""
        first = self.timeline.current.chunk + 1 if self.digests else 0
        num_rewindable = self.latents.num_rewindable - self._num_unseen
        return min(self.num_chunks, max(first, self.num_chunks - num_rewindable))

    def rewind(self, num_chunks: int) -> None:
        """Drop the chunks from number ``num_chunks`` on; see ``Session.rewind``."""
        if not self.earliest_rewind <= num_chunks <= self.num_chunks:
            raise ValueError(
                f"cannot go back to {num_chunks} chunks: there are {self.num_chunks}, and it must be "
                f"at least {self.earliest_rewind}"
            )
        self.latents.rewind(self._num_unseen)
        if self._unfinished is not None and self._unfinished.lead_in is not None:
            self._repeated.appendleft(self._unfinished.latents)
            self._lead_in = self._unfinished.lead_in
        config, end, num_dropped = self.models.config, self.latents.start, self.num_chunks - num_chunks
        self._unfinished = None
        self.timeline.drop_pending()
        self.latents.rewind(num_dropped)
        self.num_frames -= config.num_frames(end) - config.num_frames(self.latents.start)
        del self.digests[num_chunks:]
        self._is_rewound = True

    @torch.no_grad()
    def replay(self, plan: ResumePlan, chunks: Sequence[Tensor], digests: Sequence[str], turn: Turn) -> None:
        """Append chunks that were kept; only those that the plan names are left in the cache.

        Args:
            plan: its prompts become those of the timeline.
            chunks: clean latents (1, F, C, H, W), from the first, of any device.
            digests: of these.
            turn: held during each pass.
        """
        self.timeline = PromptTimeline(plan.prompts)
        for clean, digest in zip(chunks, digests, strict=True):
            on_device = clean.to(self.models.device)
            begins_rollout = self._begin_known_rollout(len(chunks), turn)
            if self.num_chunks in plan.passes:
                with turn():
                    self._use_due_prompt()
                    self.latents.remember(on_device)
            else:
                self._skip()
            self._append(on_device, digest, is_remembered=True, has_lead_in=begins_rollout)
        logger.info("session resumed after %d chunks: %d clean passes", len(chunks), len(plan.passes))

    def _remember_last(self) -> None:
        """The clean pass of the chunk before; a switch that rebuilds the cache spares it."""
        event = self.timeline.due(self.num_chunks)
        if self.latents.needs_clean_pass(None if event is None else event.switch):
            with self.stopwatch.stage("remember"):
                self.latents.remember_last()

    def _denoise(self, on_step: OnStep) -> LatentChunk:
        """The next chunk, not remembered yet; a switch that is due happens first."""
        self._use_due_prompt()
        with self.stopwatch.stage("denoise"):
            before = self.place if self._is_rewound else None
            if self._ends_rollout:
                self._begin_rollout(on_step)
            lead_in, self._lead_in = self._lead_in, None
            clean = self._repeated.popleft() if self._repeated else self._given_latents()
            if clean is None:
                clean = self.latents.denoise(self.noise.of_chunk(self.num_chunks), on_step)
        return LatentChunk(
            before=before,
            index=self.num_chunks,
            prompt_index=self.timeline.index,
            prompt=self.timeline.current.text,
            first_latent=self.latents.start,
            latents=clean,
            ready=mark(self.models.device),
            lead_in=lead_in,
            attended=self.latents.attended(self.num_chunks, self.timeline.switch_at(self.num_chunks)),
        )

    @property
    def _ends_rollout(self) -> bool:
        """Whether a rollout has come to the latents that the next one repeats."""
        left = self.latents.num_until_overlap
        return left is not None and left <= 0

    @property
    def _num_unseen(self) -> int:
        """Chunks of these that have been made."""
        return max(0, -(self.latents.num_until_overlap or 0)) // self.latents.stream.chunk

    def _begin_rollout(self, on_step: OnStep = ignore_step) -> None:
        """Make the last latents of a rollout, which the next one repeats, and begin that."""
        latents, stream = self.latents, self.latents.stream
        first = self.num_chunks - (stream.window - stream.overlap) // stream.chunk
        while latents.start < stream.window:
            clean = latents.denoise(self.noise.of_chunk(first + latents.start // stream.chunk), on_step)
            if latents.start + stream.chunk < stream.window:
                latents.remember(clean)
            latents.append(clean, is_remembered=True)
        rollout = torch.cat(tuple(latents.recent), 1)
        repeated = encode_again(self.models, rollout, stream.overlap)
        self._lead_in = rollout[:, -stream.overlap :][:, :1]
        latents.begin_rollout()
        self._repeated = deque(repeated.split(stream.chunk, 1))

    def _begin_known_rollout(self, num_chunks: int, turn: Turn) -> bool:
        """Begin a rollout if one begins with the next of ``num_chunks`` kept chunks; return whether one does.

        What it repeats was kept, too, unless the kept chunks end within that.
        """
        event, stream = self.timeline.due(self.num_chunks), self.latents.stream
        begins = self._ends_rollout and (event is None or event.switch != "hard")
        if begins and num_chunks - self.num_chunks >= stream.overlap // stream.chunk:
            self.latents.begin_rollout()
        elif begins:
            with turn():
                self._use_due_prompt()
                self._begin_rollout()
        if self._repeated:
            self._repeated.popleft()
            self._lead_in = None
        return begins

    def _given_latents(self) -> Tensor | None:
        """The next chunk, if it is one of those that the video begins with and no cut came before it."""
        chunk = self._start[self.num_chunks] if self.num_chunks < len(self._start) else None
        if chunk is None or self.latents.start != self.num_chunks * chunk.shape[1]:
            return None
        return chunk.to(self.models.device, self.models.dtype)

    def _use_due_prompt(self) -> None:
        event = self.timeline.due(self.num_chunks)
        if event is not None:
            self._use(event, event.switch)
            self.timeline.advance()
        elif not self._is_prompt_read and self.timeline.index >= 0:
            self._use(self.timeline.current, None)

    def _use(self, event: PromptEvent, switch: SwitchMode | None) -> None:
        """Go on under the prompt of an event, changing to it by ``switch``; None changes the prompt alone."""
        with self.stopwatch.stage("text"), torch.no_grad():
            embedding = self.models.text_encoder.encode(event.text)
            tokens = embedding.tokens.to(self.models.device, self.models.dtype)
            prompt = self.models.read_prompt(tokens)
        with self.stopwatch.stage("switch"):
            self.latents.switch(prompt, switch)
        if switch == "hard":
            self._repeated.clear()
            self._lead_in = None
        self._is_prompt_read = True
        self.truncated_prompt = embedding.text if embedding.is_truncated else None
        logger.info("chunk %d: prompt %r (%s)", event.chunk, event.text, switch or "first")

    def _skip(self) -> None:
        """Count the next chunk without leaving it in the cache; a cut or a recache must follow."""
        if event := self.timeline.due(self.num_chunks):
            self.timeline.advance()
            self._is_prompt_read = False
            if event.switch == "hard":
                self.latents.cut()
        self.latents.skip()

    def _append(self, clean: Tensor, digest: str, *, is_remembered: bool, has_lead_in: bool) -> None:
        config, start = self.models.config, self.latents.start
        self.latents.append(clean, is_remembered=is_remembered)
        self.num_frames += config.num_frames(self.latents.start) - config.num_frames(start)
        self.num_frames += (config.temporal_scale - 1) if has_lead_in else 0
        self.digests.append(digest)
        self._is_rewound = False
