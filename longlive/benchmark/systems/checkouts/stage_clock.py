"""Seconds by stage, and what each program here has in common; needs Python 3.9, torch and numpy alone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

PROMPT = "a red fox runs through deep snow under tall pines"


class StageClock:
    """Seconds by stage, summed over calls; the device is waited for before and after each."""

    def __init__(self, device: torch.device) -> None:
        """For work on a device."""
        self._device = device
        self.seconds: dict[str, float] = {}

    def now(self) -> float:
        """The time at which everything that was asked for is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose calls count as ``stage``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            begun = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + self.now() - begun

        return call

    def timed_items(self, stage: str, items: Iterable[Any]) -> Iterator[Any]:
        """The items, of which the making of each counts as ``stage``."""
        source = iter(items)
        advance = self.timed(stage, lambda: next(source, source))
        while (item := advance()) is not source:
            yield item


def parse_arguments() -> argparse.Namespace:
    """The options that ``measure_checkout`` gives to each program; its repository becomes importable."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repo", required=True)
    parser.add_argument("--frames", required=True, help="file for the raw pictures")
    parser.add_argument("--weights", default="")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, args.repo)
    return args


def print_result(
    path: str, frames: np.ndarray, stages: dict[str, float | None], *, steps: int, steps_measured: int
) -> None:
    """Write the pictures, uint8 (F, H, W, 3), and print the one line that is read."""
    np.ascontiguousarray(frames, dtype=np.uint8).tofile(path)
    size = {"pictures": frames.shape[0], "height": frames.shape[1], "width": frames.shape[2]}
    print(json.dumps({"stages_s": stages, **size, "steps": steps, "steps_measured": steps_measured}))  # noqa: T201
