"""How fast a model goes, end to end: from the prompt's text to H.264 segments in host memory."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch

from longlive.benchmark.cost import costs_of
from longlive.benchmark.profiling import matmul_ceiling
from longlive.benchmark.steady_pass import PROMPTS, profile_pass
from longlive.chunks import FrameChunk
from longlive.config import StreamConfig
from longlive.errors import ConfigError
from longlive.generation.lookahead import OnLatents, Pipeline, SequentialPipeline
from longlive.generation.session import Session
from longlive.generation.stopwatch import Stopwatch
from longlive.media.segments import SegmentEncoder
from longlive.models.bundle import ModelBundle
from longlive.runtime.environment import device_name, git_revision, versions
from longlive.runtime.quantization import weight_bytes


@dataclass(frozen=True)
class Sample:
    """One chunk as it was measured.

    Attributes:
        start_seconds, num_frames: its time in the video, and its number of pictures.
        chunk_ms: from its start (embedding the prompt, if that changed) to the encoded segment.
        cpu_ms: processor time of this process meanwhile; steadier on a shared machine.
        stage_ms: by stage, encode included.
        is_switch: whether a new prompt began with it.
        memory_bytes: of the process (CPU) or the device (CUDA) after it.
        switch_ms: at a switch, from the new prompt to the encoded segment; when overlapping, longer than
            ``chunk_ms``, which counts from the segment before.
    """

    start_seconds: float
    num_frames: int
    chunk_ms: float
    cpu_ms: float
    stage_ms: dict[str, float]
    is_switch: bool
    memory_bytes: int
    switch_ms: float = 0.0


class Bench:
    """One run of a model, measured chunk by chunk once the window is full and its passes are captured."""

    def __init__(
        self,
        models: ModelBundle,
        *,
        switch_every: float = 10.0,
        compile_mode: str = "off",
        overlap: bool = False,
        **stream: Any,
    ) -> None:
        """Prepare a run with a prompt switch, of the model's own kind, every so many seconds.

        Args:
            models: what to measure, optimized already.
            switch_every: seconds between switches.
            compile_mode: reported beside the figures.
            overlap: decode and encode one chunk while the next is made.
            stream: options of the stream, as for Session.
        """
        if not switch_every > 0:
            raise ConfigError("switch_every", switch_every, "it must be above 0 seconds", "Try 10.")
        self.models = models
        self._prompts = _prompts_of(models)
        self._switch_every = switch_every
        self._stream = stream
        self._compile_mode, self._overlap = compile_mode, overlap
        self._num_warm_up = 1
        self._made: dict[int, tuple[float | None, Stopwatch]] = {}
        self._drafts: list[tuple[int, float, Sample]] = []
        scale, encoder = models.config.live_scale, models.runtime.encoder
        self._encoder = SegmentEncoder(scale=scale, encoder=encoder)
        self.first_ms = self.warm_first_ms = self.warm_up_ms = self._encode_ms = 0.0
        self.samples: list[Sample] = []

    def run(self, seconds: float) -> Iterator[FrameChunk]:
        """Make a video; yields each chunk, so that a progress bar can follow.

        Args:
            seconds: of video to measure, after the warm-up. At least one chunk is measured, each as a whole.

        Raises:
            ConfigError: unless ``seconds`` is above 0.
        """
        if not seconds > 0:
            raise ConfigError("seconds", seconds, "it must be above 0", "Try 60.")
        if self.models.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.models.device)
        begun = time.perf_counter()
        session = Session(self.models, self._prompts[0], seed=1, **self._stream)
        self._num_warm_up = self._chunks_before(session.stream)
        line = (Pipeline if self._overlap else SequentialPipeline)(
            lambda on_latents: self._make(session, on_latents)
        )
        try:
            for _ in range(self._num_warm_up):
                for chunk in self._encoded(session, line):
                    self.first_ms = self.first_ms or (time.perf_counter() - begun) * 1000
                    yield chunk
            self.warm_up_ms = (time.perf_counter() - begun) * 1000
            measured = 0.0
            while measured < seconds:
                chunk = self._measured(session, line)
                measured += chunk.seconds
                yield chunk
        finally:
            line.close()
            session.close()
        self.samples = [self._finished(*draft) for draft in self._drafts]
        self.warm_first_ms = self._warm_first()

    def _finished(self, index: int, ended: float, draft: Sample) -> Sample:
        """A sample with what only the thread that made its latents knew."""
        switched, making = self._made[index]
        return dataclasses.replace(
            draft,
            is_switch=switched is not None,
            switch_ms=0.0 if switched is None else (ended - switched) * 1000,
            stage_ms=making.ms | draft.stage_ms,
        )

    def result(self) -> dict[str, Any]:
        """What was measured; see the README for the fields. Milliseconds, bytes, pictures per second.

        A figure that was not measured, such as that of a switch in a run too short for one, is None.
        """
        facts, num_frames = self.models.config, sum(s.num_frames for s in self.samples)
        plain = [s for s in self.samples if not s.is_switch]
        switches = [s for s in self.samples if s.is_switch]
        return {
            "model": facts.name,
            "device": device_name(self.models.device),
            "dtype": str(self.models.dtype).removeprefix("torch."),
            "decoder_dtype": str(next(self.models.decoder.parameters()).dtype).removeprefix("torch."),
            "decoder": self.models.decoder_name,
            "quantization": self.models.runtime.quantization,
            "cache": self.models.runtime.cache,
            "weight_bytes": sum(map(weight_bytes, self.models.transformers)),
            "attention": self.models.transformer.backend.name,
            "compile": self._compile_mode,
            "overlap": self._overlap,
            "encoder": self.models.runtime.encoder,
            "random_weights": self.models.digest == "random",
            "height": facts.height,
            "width": facts.width,
            "frames": num_frames,
            "fps_denoise": self._fps("text", "switch", "denoise", "remember"),
            "fps_decode": self._fps("decode"),
            "fps_encode": self._fps("encode"),
            "fps_end_to_end": _rate(num_frames, sum(s.chunk_ms for s in self.samples)),
            "first_frame_ms": round(self.first_ms, 1),
            "first_frame_warm_ms": round(self.warm_first_ms, 1),
            "switches": len(switches),
            "switch_ms_p50": percentile([s.switch_ms for s in switches], 50),
            "switch_ms_p95": percentile([s.switch_ms for s in switches], 95),
            "recache_ms_p50": percentile([s.stage_ms["switch"] for s in switches], 50),
            "switch_stages_ms": stages_of(switches),
            "chunk_ms_p50": percentile([s.chunk_ms for s in plain], 50),
            "chunk_ms_p95": percentile([s.chunk_ms for s in plain], 95),
            "chunk_cpu_ms_p50": percentile([s.cpu_ms for s in plain], 50),
            "warm_up_ms": round(self.warm_up_ms, 1),
            "stages_ms": stages_of(plain),
            "peak_memory_bytes": self._peak_memory(),
            **self._work(plain),
            "minutes": minutes_of(self.samples),
            "threads": torch.get_num_threads(),
            "git_revision": git_revision(),
            "versions": versions(),
        }

    def _make(self, session: Session, on_latents: OnLatents) -> None:
        """Make the latents of a chunk, under the prompt that is due by then."""
        prompt = self._prompts[int(session.seconds // self._switch_every) % len(self._prompts)]
        switched = None
        if session.num_chunks >= self._num_warm_up and prompt != session.prompts[-1].text:
            switched = time.perf_counter()
            session.set_prompt(prompt)
        made = session.next_latents(on_latents)
        self._made[made.index] = switched, session.latents_stopwatch

    def _chunks_before(self, stream: StreamConfig) -> int:
        """The first chunk, those that fill the window, and those in which passes are captured."""
        window, places = max(stream.window, 0), 0
        if self.models.transformer.pass_runner is not None and window:
            places = -(-(window - stream.sink) // stream.chunk)
        return 1 - (-window // stream.chunk) + 2 * places

    def _warm_first(self) -> float:
        """Milliseconds from a prompt to the first picture's segment, of a stream that begins now."""
        begun = time.perf_counter()
        with Session(self.models, self._prompts[0], seed=2, **self._stream) as fresh:
            line = (Pipeline if self._overlap else SequentialPipeline)(fresh.next_latents)
            next(self._encoded(fresh, line))
            took = time.perf_counter() - begun
            line.close()
        return took * 1000

    def _encoded(self, session: Session, line: Pipeline | SequentialPipeline) -> Iterator[FrameChunk]:
        """The next pictures, part by part, as a worker makes and sends them."""
        if not line.is_begun:
            line.begin()
        for part in line.result().parts():
            if part.ends_chunk:
                line.begin()
            chunk = session.decode(part)
            begun = time.perf_counter()
            self._encoder.encode(chunk)
            self._encode_ms = (time.perf_counter() - begun) * 1000
            yield chunk

    def _measured(self, session: Session, line: Pipeline | SequentialPipeline) -> FrameChunk:
        begun, cpu = time.perf_counter(), time.process_time()
        (chunk,) = self._encoded(session, line)
        ended = time.perf_counter()
        sample = Sample(
            start_seconds=chunk.start_seconds,
            num_frames=len(chunk.frames),
            chunk_ms=(ended - begun) * 1000,
            cpu_ms=(time.process_time() - cpu) * 1000,
            stage_ms=session.decode_ms | {"encode": self._encode_ms},
            is_switch=False,
            memory_bytes=_memory(self.models.device),
        )
        self._drafts.append((chunk.index, ended, sample))  # its latents may not be remembered yet
        return chunk

    def _fps(self, *stages: str) -> float | None:
        spent = sum(sample.stage_ms.get(stage, 0.0) for sample in self.samples for stage in stages)
        return _rate(sum(sample.num_frames for sample in self.samples), spent)

    def _work(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """What the passes of a chunk compute, how quickly, and what the machine reaches at best."""
        costs = costs_of(self.models.config, dtype=self.models.dtype, **self._stream)
        spent = percentile([s.stage_ms["denoise"] + s.stage_ms["remember"] for s in samples], 50)
        reached = costs["flops_chunk"] / spent / 1e9 if spent else None
        ceiling = matmul_ceiling(self.models.device, self.models.dtype)
        found = profile_pass(self.models, **self._stream)
        return {
            "flops_chunk": costs["flops_chunk"],
            "tflops": None if reached is None else round(reached, 4),
            "tflops_ceiling": round(ceiling, 4),
            "share_of_ceiling": None if reached is None else round(reached / ceiling, 3),
            "pass_ms_p50": percentile(found.ms, 50),
            "pass_kernels": found.slowest,
            "kernels_per_pass": found.kernels,
            "waits_per_pass": found.waits,
            "largest_allocation_bytes": found.largest_allocation_bytes,
        }

    def _peak_memory(self) -> int:
        if self.models.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.models.device)
        return max((sample.memory_bytes for sample in self.samples), default=0)


def stages_of(samples: Sequence[Sample]) -> dict[str, dict[str, float | None]]:
    """Median and 95th percentile of each stage, in milliseconds."""
    names = {name for sample in samples for name in sample.stage_ms}
    times = {name: [s.stage_ms[name] for s in samples if name in s.stage_ms] for name in sorted(names)}
    return {name: {"p50": percentile(own, 50), "p95": percentile(own, 95)} for name, own in times.items()}


def minutes_of(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Medians of each minute of video, and their spread: whether time and memory stay flat.

    ``chunk_ms_spread`` is the distance between the quartiles; chunks with a prompt switch are left out.
    """
    minutes = []
    for minute in sorted({int(sample.start_seconds // 60) for sample in samples}):
        own = [sample for sample in samples if int(sample.start_seconds // 60) == minute]
        times = [sample.chunk_ms for sample in own if not sample.is_switch]
        minutes.append(
            {
                "minute": minute + 1,
                "chunk_ms_p50": percentile(times, 50),
                "chunk_ms_spread": _spread(times),
                "chunk_cpu_ms_p50": percentile([sample.cpu_ms for sample in own if not sample.is_switch], 50),
                "peak_memory_bytes": max(sample.memory_bytes for sample in own),
            }
        )
    return minutes


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` percent lie, to a tenth; None if there are none."""
    return round(float(np.percentile(values, share)), 1) if values else None


def table(result: dict[str, Any]) -> str:
    """The result as a table for people."""
    apart = ("minutes", "versions", "git_revision", "stages_ms", "pass_kernels")
    lines = [f"{key:<26} {_cell(value)}" for key, value in result.items() if key not in apart]
    for name, times in result["stages_ms"].items():
        lines.append(f"{name + ' ms':<26} {times['p50']} (p95 {times['p95']})")
    lines.append(f"{'minute':<8}{'chunk ms':>10}{'spread':>8}{'cpu ms':>8}{'memory MB':>11}")
    for row in result["minutes"]:
        lines.append(
            f"{row['minute']:<8}{_cell(row['chunk_ms_p50']):>10}{_cell(row['chunk_ms_spread']):>8}"
            f"{_cell(row['chunk_cpu_ms_p50']):>8}"
            f"{row['peak_memory_bytes'] / 1e6:>11.1f}"
        )
    return "\n".join(lines)


def _prompts_of(models: ModelBundle) -> tuple[str, ...]:
    stories = [[text for _, text in story.prompts] for story in models.card.stories if len(story.prompts) > 1]
    return tuple(stories[0]) if stories else PROMPTS


def _spread(times: Sequence[float]) -> float | None:
    low, high = percentile(times, 25), percentile(times, 75)
    return None if low is None or high is None else round(high - low, 1)


def _cell(value: Any) -> Any:
    return "-" if value is None else value


def _rate(frames: int, milliseconds: float) -> float | None:
    return round(1000 * frames / milliseconds, 2) if milliseconds else None


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return psutil.Process().memory_info().rss
