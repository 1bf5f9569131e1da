"""Runs MAGI-1 from a checkout of github.com/SandAI-org/MAGI-1 (Apache-2.0); CUDA only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stage_clock import PROMPT, StageClock, parse_arguments, print_result

ONE_PROCESS = {
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "6009",
    "WORLD_SIZE": "1",
    "RANK": "0",
    "LOCAL_RANK": "0",
}
"""What its authors' script sets for one GPU."""


def main() -> None:
    """Make the video of a config file twice, and time the second; loading weights is not counted."""
    args = parse_arguments()
    for name, value in ONE_PROCESS.items():
        os.environ.setdefault(name, value)
    from inference.pipeline import pipeline as stages_of
    from inference.pipeline.pipeline import MagiPipeline

    made: list[np.ndarray] = []
    clock = StageClock(torch.device(args.device))
    generate = stages_of.generate_per_chunk
    stages_of.get_txt_embeddings = clock.timed("text", stages_of.get_txt_embeddings)
    stages_of.generate_per_chunk = lambda **given: clock.timed_items("denoise", generate(**given))
    stages_of.post_chunk_process = clock.timed("decode", stages_of.post_chunk_process)
    stages_of.save_video_to_disk = lambda video, *_, **__: made.append(_pictures(video))
    runner = MagiPipeline(args.weights)
    runner.run_text_to_video(prompt=PROMPT, output_path="")
    clock.seconds.clear()
    runner.run_text_to_video(prompt=PROMPT, output_path="")
    steps = json.loads(Path(args.weights).read_text(encoding="utf-8"))["runtime_config"]["num_steps"]
    print_result(args.frames, made[-1], dict(clock.seconds), steps=steps, steps_measured=steps)


def _pictures(video: Any) -> np.ndarray:
    """Its video, uint8 (F, 3, H, W), as uint8 (F, H, W, 3)."""
    return np.asarray(video.permute(0, 2, 3, 1).cpu().numpy())


if __name__ == "__main__":
    main()
