"""One viewer's stream: prompts, KV cache and decoder; ``next_chunk`` advances it.

session = Session(models, "a red ball stands on a green meadow", seed=7)
chunk = session.next_chunk()
session.set_prompt("the red ball jumps on a green meadow", switch="soft")
"""

import copy
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from longlive.chunks import SWITCH_MODES, FrameChunk, LatentChunk, SwitchMode
from longlive.config import StreamConfig
from longlive.errors import ConfigError, SessionFileError
from longlive.generation.chunk_generator import ChunkGenerator, Turn
from longlive.generation.cuda_streams import SideStream
from longlive.generation.lookahead import OnLatents, OnStep, ignore_step
from longlive.generation.noise import check_seed
from longlive.generation.prompt_timeline import PromptTimeline
from longlive.generation.resume import check_latents, check_models, plan_exact, plan_quick
from longlive.generation.session_file import PromptEvent, SessionRecord, describe_models
from longlive.generation.start_clip import Start, unpack_latents
from longlive.generation.stopwatch import Stopwatch
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import StreamingDecoder
from longlive.prompts import PromptText, check_prompt

logger = logging.getLogger(__name__)


def _ignore(chunk: LatentChunk) -> None:
    """Do nothing with a chunk."""


class Session:
    """A video that goes on for as long as chunks are asked for.

    A new prompt takes effect at the next chunk boundary, in one of three ways:

    * ``soft``: the cache is rebuilt from the last latents under the new prompt (KV recache);
    * ``hard``: a cut; cache, sink and decoder start afresh, and only the clock goes on. The first chunk
      after it is shorter, as the first of a video is;
    * ``keep``: only the prompt changes, the cache stays as the old prompt left it.

    Length has no limit: with ``absolute`` positions, the session changes to ``relative`` ones just before
    the transformer's table of positions ends. Memory does not grow, but for 16 characters of digest per
    chunk; with ``window=-1`` (attend to everything) it does, and the run ends with the table.

    Not safe to use from two threads at once, except that ``decode`` may run beside ``next_latents``.

    Attributes:
        stream: its options.
        seed, take: of the noise.
        switch: the default of ``set_prompt``.
    """

    def __init__(
        self,
        models: ModelBundle,
        prompt: str,
        *,
        seed: int = 0,
        take: int = 0,
        switch: SwitchMode | None = None,
        start: Start | None = None,
        **stream: Any,
    ) -> None:
        """Prepare a stream; nothing but the encoding of ``start`` is computed before the first chunk.

        Args:
            models: shared with other sessions.
            prompt: the first one; cleaned here, unless it is a PromptText already.
            seed, take: of the noise; the same seed, take and prompts give the same latents.
            switch: the default of ``set_prompt``; None: the model's own.
            start: a picture or video that this one goes on from; see generation/start_clip.py.
            stream: options of StreamConfig, by their names, in place of what the model was tuned with.

        Raises:
            PromptError, ConfigError, MediaError: with a message for viewers.
        """
        self.stream = StreamConfig.of(models.config, **stream)
        self.seed, self.take = check_seed(seed), check_seed(take, "take")
        self.switch = _check_switch(switch or models.config.switch)
        timeline = PromptTimeline([PromptEvent(0, check_prompt(prompt), None)])
        self._generator = ChunkGenerator(models, self.stream, timeline, seed=seed, take=take, start=start)
        self._decoder = StreamingDecoder(models.decoder, models.config.fps)
        self._decode_stream, self._decode_stopwatch = SideStream(models.device), Stopwatch(models.device)
        logger.info("session started: seed %d, prompt %r", seed, prompt)

    @property
    def models(self) -> ModelBundle:
        """The model; may be replaced by the same one run with less memory (``RuntimeProfile.downgrade``).

        Decoder and size stay. What follows is the same, unless keys and values are stored in another dtype
        from then on: no replay can repeat that.
        """
        return self._generator.models

    @models.setter
    def models(self, models: ModelBundle) -> None:
        self._generator.models = models.at_size(self.models.config.size)

    @property
    def num_chunks(self) -> int:
        """How many chunks have been made; also the index of the next one."""
        return self._generator.num_chunks

    @property
    def seconds(self) -> float:
        """Length of the video made so far; also the time of the next chunk's first picture."""
        return self._generator.num_frames / self.models.config.fps

    @property
    def prompts(self) -> tuple[PromptEvent, ...]:
        """The prompts by the chunk where each takes effect, those still to come included."""
        return self._generator.timeline.events

    @property
    def truncated_prompt(self) -> PromptText | None:
        """The prompt in use, if it has too many tokens for the model, so that its end has no effect."""
        return self._generator.truncated_prompt

    @property
    def digests(self) -> tuple[str, ...]:
        """A digest of each chunk's latents."""
        return tuple(self._generator.digests)

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of each stage of the last chunk, its decoding included."""
        return self.latents_ms | self.decode_ms

    @property
    def latents_ms(self) -> dict[str, float]:
        """Milliseconds of each stage of the last latents, waited for; for the thread of ``next_latents``."""
        return self._generator.stopwatch.ms

    @property
    def latents_stopwatch(self) -> Stopwatch:
        """The stages of the last latents, to be read later, when nothing has to wait for the device."""
        return copy.copy(self._generator.stopwatch)

    @property
    def decode_ms(self) -> dict[str, float]:
        """Milliseconds of the last decoding; for the thread that calls ``decode``."""
        return self._decode_stopwatch.ms

    def set_prompt(self, text: str, switch: SwitchMode | None = None, *, queue: bool = False) -> int:
        """Go on with another prompt; return the index of the first chunk that is made with it.

        Before the first chunk it replaces the first prompt. The newest prompt wins: those that no chunk has
        used yet are dropped, unless ``queue`` is set; then each gets at least one chunk, in turn. Right after
        a quick resume, ``keep`` waits for a chunk: there is no cache to keep before.

        Raises:
            PromptError, ConfigError: with a message for viewers; the stream goes on unharmed.
            SessionClosedError: after ``close``.
        """
        return self._generator.add_prompt(
            check_prompt(text), _check_switch(switch or self.switch), queue=queue
        )

    def rewind(self, num_chunks: int) -> None:
        """Drop the chunks from number ``num_chunks`` on: what follows is as if they had never been made.

        Set another prompt before the next chunk, softly or with a cut: what the dropped chunks had pushed out
        of the cache is gone. Another thread may decode meanwhile: the decoder goes back at the next chunk.

        Raises:
            ValueError: if there are fewer chunks, or more than 12 to drop, or one of them was the first of
                the prompt in use.
        """
        self._generator.rewind(num_chunks)

    def next_chunk(self) -> FrameChunk:
        """The next pictures: ``next_latents``, decoded."""
        return self.decode(self.next_latents())

    def next_latents(self, on_latents: OnLatents = _ignore, on_step: OnStep = ignore_step) -> LatentChunk:
        """The next clean latents; each chunk must then be decoded, in order, if its pictures are wanted.

        If it fails (out of memory, say), it may be called again: it goes on where it stopped, with the same
        result, and does not call ``on_latents`` a second time.

        Args:
            on_latents: is given the chunk before its digest is taken; another thread may decode it then.
            on_step: is given each step's timestep and clean latents; what it raises interrupts the chunk.

        Raises:
            SessionClosedError: after ``close``.
        """
        return self._generator.make_chunk(on_latents, on_step)

    def decode(self, chunk: LatentChunk) -> FrameChunk:
        """The pictures of the chunk or part after the one decoded last; in any thread, but one at a time."""
        self._decode_stopwatch.clear()
        stage = self._decode_stopwatch.stage("decode", device_only=True)  # latents may not be ready yet
        with self._decode_stream.after(chunk.ready, chunk.latents), stage:
            return self._decoder.decode(chunk)

    def record(self) -> SessionRecord:
        """All that is needed to make this video again."""
        return SessionRecord(
            **describe_models(self.models),
            seed=self.seed,
            take=self.take,
            stream=self.stream,
            prompts=self.prompts,
            chunks=self.digests,
            reseeds=self._generator.noise.reseeds,
            start=self._generator.packed_start,
        )

    def save(self, path: str | Path) -> None:
        """Write the session file; SessionFileError if it cannot be written."""
        self.record().write(path)

    @classmethod
    def of_record(cls, models: ModelBundle, record: SessionRecord) -> "Session":
        """A new session, at its first chunk, that will use the recorded prompts at their chunks.

        It has the size of the record, whichever ``models`` has.

        Raises:
            SessionFileError: if the record belongs to another model, size, dtype, quantization or cache.
        """
        models = check_models(models, record)
        stream = vars(record.stream) | {"start": unpack_latents(record.start, models.config, record.stream)}
        session = cls(models, record.prompts[0].text, seed=record.seed, take=record.take, **stream)
        generator = session._generator
        generator.timeline = PromptTimeline(record.prompts)
        generator.noise = replace(generator.noise, reseeds=record.reseeds)
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
            if session.digests[index] != digest:
                raise _differs(index, path, record)
        return session

    @classmethod
    def resume(
        cls,
        models: ModelBundle,
        record: SessionRecord,
        latents: Sequence[Tensor],
        *,
        exact: bool,
        turn: Turn = nullcontext,
    ) -> "Session":
        """A session that goes on after chunks whose clean latents were kept; none is denoised again.

        Args:
            models: as for ``of_record``.
            record: of the session, with the digests of these chunks; its further prompts are still to come.
            latents: (1, F, C, H, W) of each chunk, on the CPU, from the first.
            exact: go on as if nothing had happened, bit for bit on the same device: all clean passes since
                the last cut or soft switch are run again. Otherwise only a few are: where more would be
                needed, the prompt is set again, softly, at the next chunk, unless ``set_prompt`` gives
                another. Either record gives the same video again.
            turn: held during each pass; between them, others may use the model.

        Raises:
            SessionFileError: if the record belongs to another model, dtype, quantization or cache, or the
                latents are not those of its chunks.
        """
        session = cls.of_record(models, record)
        clean = check_latents(record, latents, session.models.config, models.dtype)
        plan = (plan_exact if exact else plan_quick)(record.prompts, len(clean), session.stream)
        session._generator.replay(plan, clean, record.chunks, turn)
        if clean:
            place = session._generator.place
            with session._decode_stream.after(None, place.latents[-1]):
                session._decoder.catch_up(place.latents, place.first_frame)
        return session

    def close(self) -> None:
        """Free what the session holds; no more chunks can be made."""
        self._generator.close()
        self._decoder.reset()
        self._decode_stream.close()
        logger.info("session closed after %d chunks", self.num_chunks)

    def __enter__(self) -> "Session":
        """The session itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


def _differs(index: int, path: str | Path, record: SessionRecord) -> SessionFileError:
    return SessionFileError(
        f"Chunk {index} of {path} comes out different here (it was written on {record.device} with "
        f"{record.threads} threads by version {record.code_version}). "
        "It cannot be continued exactly; replay shows it all the same."
    )


def _check_switch(switch: SwitchMode) -> SwitchMode:
    if switch not in SWITCH_MODES:
        raise ConfigError(
            "switch", switch, f"it must be one of {SWITCH_MODES}", "Use 'soft' to go on smoothly."
        )
    return switch
