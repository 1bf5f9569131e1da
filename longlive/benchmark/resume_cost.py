"""What going on from kept latents costs beside making chunks, in processor time of one thread.

python -m longlive.benchmark.resume_cost [--model storybook] [--chunks 40 400] [--rounds 3]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch

from longlive import Session, load_models

PROMPT = "a red ball stands on a green meadow"


def cpu_ms(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return 1000 * (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="storybook")
    parser.add_argument("--chunks", type=int, nargs="+", default=[40, 400])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = load_models(args.model)
    session, kept, stages = Session(models, PROMPT, seed=7), [], []
    for index in range(max(args.chunks)):
        chunk = session.next_latents()
        kept.append(chunk.latents)
        if index < 30:
            session.decode(chunk)
            stages.append(session.stage_ms)
    for name in ("denoise", "remember", "decode"):
        print(f"{name}: {median(stage[name] for stage in stages[6:]):.1f} ms a chunk (median, wall time)")
    record = session.record()
    for end in args.chunks:
        short = replace(record, chunks=record.chunks[:end])
        for exact in (True, False):
            resume = partial(Session.resume, models, short, kept[:end], exact=exact)
            catch_up = partial(resume()._decoder.catch_up, kept[:end], 0)
            whole, pictures = (
                median(cpu_ms(work) for _ in range(args.rounds)) for work in (resume, catch_up)
            )
            way = "exact" if exact else "quick"
            with resume() as session:
                session.next_latents()
                switch = session.making_ms.get("switch", 0)
            print(f"{way} after {end} chunks: {whole:.0f} ms, {pictures:.0f} of them for the pictures;")
            print(f"the next chunk's switch takes {switch:.0f} ms more")


if __name__ == "__main__":
    main()
