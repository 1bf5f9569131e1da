"""One viewer's whole state: prompts, memory, decoder and clock; ``next_chunk`` moves it on.

session = Session(models, "a red ball stands on a green meadow", seed=7)
chunk = session.next_chunk()
session.set_prompt("the red ball jumps on a green meadow", switch="soft")
"""

import copy
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from longlive import __version__
from longlive.chunks import SWITCH_MODES, FrameChunk, LatentChunk, SwitchMode
from longlive.config import StreamConfig
from longlive.errors import ConfigError, SessionClosedError, SessionFileError
from longlive.generation.cuda_streams import SideStream
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.lookahead import OnLatents
from longlive.generation.noise import check_seed, draw_noise
from longlive.generation.resume import (
    ResumePlan,
    check_models,
    chunks_in_window,
    kept_latents,
    plan_exact,
    plan_quick,
)
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.generation.session_file import PromptEvent, SessionRecord, latents_digest
from longlive.generation.stopwatch import Stopwatch
from longlive.models.attention import PromptMemory
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import StreamingDecoder
from longlive.models.kv_cache import KVCache
from longlive.prompts import check_prompt

logger = logging.getLogger(__name__)


class Session:
    """A video that goes on for as long as chunks are asked for.

    A new prompt takes effect at the next chunk boundary, in one of three ways:

    * ``soft``: the memory of the last latents is made anew under the new prompt (KV-recache);
    * ``hard``: a cut; memory, sink and decoder start afresh, and only the clock goes on. The first chunk
      after it is shorter, as the first of a video is;
    * ``keep``: only the prompt changes, the memory stays what the old prompt made.

    Length has no limit: with ``absolute`` positions, the session goes over to ``relative`` ones just before
    the transformer's table of positions ends. Memory does not grow, but for 16 characters of digest per
    chunk; with ``window=-1`` (attend to everything) it does, and the run ends with the table.

    Not safe to use from two threads at once: the engine holds its lock around each call. ``decode`` alone may
    run beside ``next_latents``.

    Attributes:
        models: may be replaced by the same model run in a smaller way (``ModelBundle.smaller``) when memory
            has run out. The decoder stays. What follows is the same, unless keys and values are kept in
            another dtype from then on: no replay can repeat that.
    """

    def __init__(
        self,
        models: ModelBundle,
        prompt: str,
        *,
        seed: int = 0,
        take: int = 0,
        switch: SwitchMode = "soft",
        **stream: Any,
    ) -> None:
        """Prepare a stream; nothing is computed before the first chunk.

        Args:
            models: shared with other sessions.
            prompt: what to begin with.
            seed, take: of the noise; the same seed, take and prompts give the same latents.
            switch: what ``set_prompt`` does unless it is told otherwise.
            stream: choices of the run, by the names of StreamConfig, on top of what the model was tuned with.

        Raises:
            PromptError, ConfigError: in words for people.
        """
        self.models = models
        self.stream = StreamConfig.of(models.config, **stream)
        self.seed, self.take = check_seed(seed), check_seed(take, "take")
        self.switch = _check_switch(switch)
        self._watch, self._decode_watch = Stopwatch(models.device), Stopwatch(models.device)
        self._aside = SideStream(models.device)
        self._events = [PromptEvent(0, check_prompt(prompt), None)]
        self._num_served = 0
        self._digests: list[str] = []
        self._num_frames = 0
        self._start = 0
        self._recent: deque[Tensor] = deque(maxlen=chunks_in_window(self.stream))
        self._prompt: PromptMemory | None = None
        self._unremembered: LatentChunk | None = None
        self._decoder = StreamingDecoder(models.decoder, models.config.fps)
        self._timetable = FlowSchedule.of(models.config)
        self._cache: KVCache | None = KVCache(
            models.config.transformer,
            self.stream,
            models.config.tokens_per_latent,
            device=models.device,
            dtype=models.dtype,
            storage=models.cache_dtype,
        )
        logger.info("session begins: seed %d, prompt %r", seed, prompt)

    @property
    def num_chunks(self) -> int:
        """How many chunks have been made; also the index of the next one."""
        return len(self._digests)

    @property
    def seconds(self) -> float:
        """How long the video made so far plays; also when the next chunk will be shown."""
        return self._num_frames / self.models.config.fps

    @property
    def prompts(self) -> tuple[PromptEvent, ...]:
        """The prompts by the chunk where each takes effect, those still to come included."""
        return tuple(self._events)

    @property
    def digests(self) -> tuple[str, ...]:
        """A digest of each chunk's latents."""
        return tuple(self._digests)

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of each stage of the last chunk, and of the decoding done last."""
        return self.making_ms | self.decoding_ms

    @property
    def making_ms(self) -> dict[str, float]:
        """Milliseconds of each stage of the last latents; for the thread that makes them, which waits."""
        return self._watch.ms

    @property
    def making(self) -> Stopwatch:
        """What timed the last latents, to be read later, when nobody has to wait."""
        return copy.copy(self._watch)

    @property
    def decoding_ms(self) -> dict[str, float]:
        """Milliseconds of the decoding done last; for the thread that decodes."""
        return self._decode_watch.ms

    @property
    def last_chunk_ms(self) -> float:
        """Milliseconds that the last chunk took; ``stage_ms`` has them by stage."""
        return sum(self.stage_ms.values())

    def set_prompt(self, text: str, switch: SwitchMode | None = None, *, queue: bool = False) -> int:
        """Go on with another prompt; return the index of the first chunk that it will make.

        Before the first chunk it replaces the first prompt. The newest word wins: prompts that no chunk has
        used yet are dropped, unless ``queue`` is set; then each gets at least one chunk, in turn. Right after
        a quick resume, ``keep`` waits for a chunk: there is no memory to keep before.

        Raises:
            PromptError, ConfigError: in words for people; the stream goes on unharmed.
            SessionClosedError: after ``close``.
        """
        cache = self._opened()
        text, mode = check_prompt(text), _check_switch(switch or self.switch)
        if not queue:
            must_stay = mode == "keep" and cache.has_gaps
            del self._events[self._num_served + must_stay :]
        if not self._events:
            self._events.append(PromptEvent(0, text, None))
        else:
            self._events.append(PromptEvent(max(self.num_chunks, self._events[-1].chunk + 1), text, mode))
        return self._events[-1].chunk

    def next_chunk(self) -> FrameChunk:
        """The next pictures: ``next_latents``, decoded."""
        return self.decode(self.next_latents())

    def next_latents(self, on_latents: OnLatents = lambda _: None) -> LatentChunk:
        """The next clean latents; each chunk must then be decoded, in order, if its pictures are wanted.

        If it fails (the memory ran out, say), it may be called again: it goes on where it stopped, with the
        same result, and does not hand over a second time what has been handed over.

        Args:
            hand_over: is given the chunk before its clean pass; another thread may decode it from then on.

        Raises:
            SessionClosedError: after ``close``.
        """
        cache = self._opened()
        cache.set_storage_dtype(self.models.cache_dtype or self.models.dtype)
        if self._unremembered is None:
            self._watch.clear()
            self._unremembered = self._denoise(cache)
            on_latents(self._unremembered)
        chunk = self._unremembered
        assert self._prompt is not None
        with self._watch.stage("remember"):
            self._remember(chunk.latents, self._prompt, cache)
        # Beside the clean pass, so that the next chunk can be asked for before that pass is through.
        with self._aside.after(chunk.ready, chunk.latents):
            digest = latents_digest(chunk.latents)
        self._advance(chunk.latents, digest)
        self._unremembered = None
        return chunk

    def decode(self, chunk: LatentChunk) -> FrameChunk:
        """The pictures of the chunk or part after the one decoded last; in any thread, but one at a time."""
        self._decode_watch.clear()
        with self._aside.after(chunk.ready, chunk.latents), self._decode_watch.stage("decode"):
            return self._decoder.decode(chunk)

    def _denoise(self, cache: KVCache) -> LatentChunk:
        prompt = self._serve_prompt(cache)
        with self._watch.stage("denoise"), torch.no_grad():
            self._keep_positions(cache)
            latents = denoise_chunk(
                self.models.transformer, self._noise, prompt, cache, self._timetable, start=self._start
            )
        event = self._events[self._num_served - 1]
        place = self.num_chunks, self._num_served - 1, event.text, self._start
        return LatentChunk(*place, latents, self._aside.mark())

    def record(self) -> SessionRecord:
        """All that is needed to make this run again."""
        config, models = self.models.config, self.models
        return SessionRecord(
            model=models.source,
            model_digest=models.digest,
            code_version=__version__,
            dtype=str(models.dtype).removeprefix("torch."),
            device=models.device.type,
            threads=torch.get_num_threads(),
            attention=models.transformer.backend.name,
            quantization=models.quantization,
            cache=models.cache,
            height=config.height,
            width=config.width,
            seed=self.seed,
            take=self.take,
            stream=self.stream,
            prompts=self.prompts,
            chunks=self.digests,
        )

    def save(self, path: str | Path) -> None:
        """Write the session file; SessionFileError when it cannot be written."""
        self.record().write(path)

    @classmethod
    def of_record(cls, models: ModelBundle, record: SessionRecord) -> "Session":
        """A new session, at its first chunk, that will serve the recorded prompts where they were served.

        Raises:
            SessionFileError: if the record belongs to another model, dtype, quantisation or cache.
        """
        check_models(models, record)
        session = cls(
            models, record.prompts[0].text, seed=record.seed, take=record.take, **vars(record.stream)
        )
        session._events = list(record.prompts)
        return session

    @classmethod
    def load(cls, models: ModelBundle, path: str | Path) -> "Session":
        """The session of a file, ready to go on: all its chunks are made again, and compared.

        Raises:
            SessionFileError: if the file cannot be read, belongs to another model, or a chunk comes out
                different.
        """
        record = SessionRecord.read(path)
        session = cls.of_record(models, record)
        for index, digest in enumerate(record.chunks):
            session.next_chunk()
            if session._digests[index] != digest:
                raise SessionFileError(
                    f"Chunk {index} of {path} comes out different here (it was written on {record.device} "
                    f"with {record.threads} threads by version {record.code_version}). "
                    "It cannot be continued exactly; replay shows it all the same."
                )
        return session

    @classmethod
    def resume(
        cls,
        models: ModelBundle,
        record: SessionRecord,
        latents: Sequence[Tensor],
        *,
        exact: bool,
        turn: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> "Session":
        """A session that goes on after chunks whose clean latents were kept; none is denoised again.

        Args:
            models: as for ``of_record``.
            record: of the session, with the digests of these chunks; its further prompts are still to come.
            latents: (1, F, C, H, W) of each chunk, on the CPU, from the first.
            exact: go on as if nothing had happened, bit for bit on the same device; all clean passes since
                the last cut or soft switch are run again. Otherwise a few are: where more would be needed,
                the prompt is said once more, softly, at the next chunk, unless ``set_prompt`` gives another.
                Either record gives the same again.
            turn: held during each pass; between them, others may use the model.

        Raises:
            SessionFileError: if the record belongs to another model, dtype, quantisation or cache, or the
                latents are not those of its chunks.
        """
        session = cls.of_record(models, record)
        clean = kept_latents(record, latents, models.config, models.dtype)
        find_way = plan_exact if exact else plan_quick
        session._replay(find_way(record.prompts, len(clean), session.stream), clean, record.chunks, turn)
        return session

    def close(self) -> None:
        """Free what the session holds; nothing more can be made."""
        self._cache = self._prompt = self._unremembered = None
        self._recent.clear()
        self._decoder.reset()
        logger.info("session ends after %d chunks", self.num_chunks)

    def __enter__(self) -> "Session":
        """The session itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _opened(self) -> KVCache:
        if self._cache is None:
            raise SessionClosedError("This session is closed. Start a new one, or load its session file.")
        return self._cache

    @torch.no_grad()
    def _replay(
        self,
        way: ResumePlan,
        latents: Sequence[Tensor],
        digests: Sequence[str],
        turn: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        cache, self._events = self._opened(), list(way.prompts)
        for clean, digest in zip(latents, digests, strict=True):
            clean = clean.to(self.models.device)
            if self.num_chunks in way.passes:
                with turn():
                    prompt = self._serve_prompt(cache)
                    self._keep_positions(cache)
                    self._remember(clean, prompt, cache)
            else:
                self._skip_chunk(cache)
            self._advance(clean, digest)
        if latents:
            since_cut = latents[len(latents) - self._start // self.stream.chunk :]
            with self._aside.after(None, clean):
                self._decoder.catch_up(since_cut, self._num_frames)
        logger.info("session goes on after %d chunks: %d clean passes", len(latents), len(way.passes))

    def _skip_chunk(self, cache: KVCache) -> None:
        """Let the next chunk leave nothing in the memory; a cut or a recache must follow."""
        if event := self._due():
            self._num_served += 1
            if event.switch == "hard":
                self._cut(cache)
        self._keep_positions(cache)
        cache.skip(self._start, self.stream.chunk)

    def _due(self) -> PromptEvent | None:
        """The prompt that begins with the next chunk, if any."""
        due = self._events[self._num_served :][:1]
        return due[0] if due and due[0].chunk <= self.num_chunks else None

    def _serve_prompt(self, cache: KVCache) -> PromptMemory:
        """The prompt of the chunk that begins now; a switch that is due happens here."""
        event = self._due()
        if event is None:
            assert self._prompt is not None
            return self._prompt
        with self._watch.stage("text"), torch.no_grad():
            embedding = self.models.text_encoder.encode(event.text)
            prompt = self.models.transformer.read_prompt(
                embedding.tokens.to(self.models.device, self.models.dtype)
            )
        with self._watch.stage("switch"):
            self._switch(event, prompt, cache)
        self._prompt, self._num_served = prompt, self._num_served + 1
        return prompt

    def _switch(self, event: PromptEvent, prompt: PromptMemory, cache: KVCache) -> None:
        if event.switch == "soft":
            window, note = torch.cat(tuple(self._recent), dim=1), self.stream.context_noise
            recache(self.models.transformer, window, prompt, cache, start=self._start, context_noise=note)
        elif event.switch == "hard":
            self._cut(cache)
        logger.info("chunk %d: prompt %r (%s)", event.chunk, event.text, event.switch or "first")

    def _cut(self, cache: KVCache) -> None:
        cache.reset()
        cache.is_relative = self.stream.positions == "relative"
        self._recent.clear()
        self._start = 0

    def _remember(self, clean: Tensor, prompt: PromptMemory, cache: KVCache) -> None:
        note = self.stream.context_noise
        remember_chunk(self.models.transformer, clean, prompt, cache, start=self._start, context_noise=note)

    def _keep_positions(self, cache: KVCache) -> None:
        """Go over to relative positions before the table ends."""
        facts = self.models.config
        if not cache.is_relative and self._start + self.stream.chunk > facts.transformer.rope_max_seq_len:
            _, rows, columns = facts.transformer.patch_size
            grid = facts.latent_height // rows, facts.latent_width // columns
            cache.make_relative(self.models.transformer.rope, *grid)

    def _noise(self, step: int) -> Tensor:
        shape = (1, self.stream.chunk, *self.models.config.latent_shape)
        noise = draw_noise(shape, seed=self.seed, take=self.take, chunk=self.num_chunks, step=step)
        if self.models.device.type == "cuda":
            noise = noise.pin_memory()  # else the host would wait for the copy, at each step
        return noise.to(self.models.device, non_blocking=True).to(self.models.dtype)

    def _advance(self, latents: Tensor, digest: str) -> None:
        start, facts = self._start, self.models.config
        self._start += latents.shape[1]
        self._num_frames += facts.num_frames(self._start) - facts.num_frames(start)
        self._recent.append(latents)
        self._digests.append(digest)


def _check_switch(switch: SwitchMode) -> SwitchMode:
    if switch not in SWITCH_MODES:
        raise ConfigError(
            "switch", switch, f"it must be one of {SWITCH_MODES}", "Use 'soft' to go on smoothly."
        )
    return switch
