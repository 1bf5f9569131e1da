"""What resuming from kept latents costs, beside making chunks; in processor time of one thread.

python -m longlive.benchmark.resume_cost [--model storybook] [--chunks 40 400] [--rounds 3]
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from longlive.config import ResumeMode
from longlive.generation.session import Session
from longlive.generation.session_file import SessionRecord
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import StreamingDecoder
from longlive.weights.loading import load_models

PROMPT = "a red ball stands on a green meadow"
STAGES = ("denoise", "remember", "decode")
# Stage times: of so many chunks, those made while the window still fills left out.
_TIMED_CHUNKS, _FILLING_CHUNKS = 30, 6


@dataclass(frozen=True)
class ResumeCost:
    """What one way to resume costs.

    Attributes:
        mode: exact or quick.
        chunks: how many were kept.
        resume_ms: processor time until the next chunk can be made.
        decoder_ms: the part of it that prepares the decoder.
        switch_ms: wall time of a recache that the next chunk needs in addition; 0 if it needs none.
    """

    mode: ResumeMode
    chunks: int
    resume_ms: float
    decoder_ms: float
    switch_ms: float

    def __str__(self) -> str:
        """The cost as a line for people."""
        return (
            f"{self.mode} after {self.chunks} chunks: {self.resume_ms:.0f} ms, {self.decoder_ms:.0f} of them "
            f"for the decoder; the next chunk's switch takes {self.switch_ms:.0f} ms more"
        )


def make_chunks(session: Session, number: int) -> tuple[list[Tensor], dict[str, float]]:
    """Make chunks; return their latents and the median wall time of each stage in ms."""
    kept, times = [], []
    for index in range(number):
        chunk = session.next_latents()
        kept.append(chunk.latents)
        if index < _TIMED_CHUNKS:
            session.decode(chunk)
            times.append(session.stage_ms)
    steady = times[_FILLING_CHUNKS:] or times
    return kept, {stage: median(one.get(stage, 0.0) for one in steady) for stage in STAGES}


def resume_cost(
    models: ModelBundle, record: SessionRecord, kept: Sequence[Tensor], mode: ResumeMode, rounds: int
) -> ResumeCost:
    """Resume after ``kept`` latents so many times; return the medians."""
    short = replace(record, chunks=record.chunks[: len(kept)])
    resume = partial(Session.resume, models, short, kept, exact=mode == "exact")
    decoder = StreamingDecoder(models.decoder, models.config.fps)
    resume_ms = median(_cpu_ms(resume) for _ in range(rounds))
    decoder_ms = median(_cpu_ms(lambda: decoder.catch_up(kept, 0)) for _ in range(rounds))
    with resume() as session:
        session.next_latents()
        switch_ms = session.latents_ms.get("switch", 0.0)
    return ResumeCost(mode, len(kept), resume_ms, decoder_ms, switch_ms)


def main() -> None:
    """Print the cost of making a chunk, then that of resuming after each number of chunks."""
    parser = argparse.ArgumentParser("python -m longlive.benchmark.resume_cost", description=__doc__)
    parser.add_argument("--model", default="storybook", help="known name, folder or Hub id")
    parser.add_argument("--chunks", type=int, nargs="+", default=[40, 400], help="how many were kept")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is taken")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = load_models(args.model)
    session = Session(models, PROMPT, seed=7)
    kept, stage_ms = make_chunks(session, max(args.chunks))
    for stage, milliseconds in stage_ms.items():
        print(f"{stage}: {milliseconds:.1f} ms a chunk (median, wall time)")
    modes: tuple[ResumeMode, ...] = ("exact", "quick")
    for number in args.chunks:
        for mode in modes:
            print(resume_cost(models, session.record(), kept[:number], mode, args.rounds))


def _cpu_ms(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


if __name__ == "__main__":
    main()
