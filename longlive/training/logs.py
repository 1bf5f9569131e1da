"""What a run tells: a progress bar, lines of JSON, TensorBoard's curves, and sample videos."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import tqdm

from longlive.chunks import FrameChunk
from longlive.media.gif import write_gif
from longlive.training.processes import Processes


class Log:
    """The log of the main process; the others' says nothing."""

    def __init__(self, folder: Path, name: str, first: int, num_steps: int, processes: Processes) -> None:
        """Go on in ``folder`` from step ``first``."""
        self._folder, self._is_main, self._device = folder, processes.is_main, processes.device
        self._bar = tqdm(
            range(first, num_steps),
            desc=name,
            initial=first,
            total=num_steps,
            mininterval=2,
            disable=not self._is_main,
        )
        self._since = time.perf_counter()
        self._sums, self._counts = dict[str, float](), dict[str, int]()
        self._num_steps = self._num_samples = 0
        self._board: Any = None
        if self._is_main:
            from torch.utils.tensorboard import SummaryWriter

            folder.mkdir(parents=True, exist_ok=True)
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)

    def steps(self) -> Iterator[int]:
        """The steps still to be done, with a bar."""
        return iter(self._bar)

    def add(self, values: dict[str, float], num_samples: int) -> None:
        """Take in the numbers of a step, for the means that ``write`` writes."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._num_steps += 1
        self._num_samples += num_samples

    def write(self, step: int) -> None:
        """One line, and one point of each curve: means since the last time."""
        if not self._is_main or not self._num_steps:
            return
        seconds = time.perf_counter() - self._since
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        means |= {
            "seconds_per_step": seconds / self._num_steps,
            "samples_per_second": self._num_samples / seconds,
            "memory_bytes": memory_bytes(self._device),
        }
        for name, value in means.items():
            self._board.add_scalar(name, value, step)
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | {k: _short(v) for k, v in means.items()}) + "\n")
        self._bar.set_postfix({name: _short(value) for name, value in means.items() if "loss" in name})
        self._sums, self._counts = {}, {}
        self._num_steps = self._num_samples = 0
        self._since = time.perf_counter()

    def video(self, step: int, name: str, chunks: Iterable[FrameChunk]) -> None:
        """Keep a sample as a GIF, and show it on the board."""
        if not self._is_main:
            return
        (self._folder / "samples").mkdir(exist_ok=True)
        path = write_gif(self._folder / "samples" / f"{name}-{step:07d}.gif", chunks)
        self._board.file_writer.add_summary(_gif_summary(name, path.read_bytes()), step)

    def close(self) -> None:
        """Write what is still in memory."""
        self._bar.close()
        if self._board is not None:
            self._board.close()


def memory_bytes(device: torch.device) -> int:
    """The most memory that this process has held on a GPU, or what it holds now on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _gif_summary(name: str, encoded: bytes) -> Any:
    """TensorBoard plays GIFs that come as images."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, image=Summary.Image(encoded_image_string=encoded))])
