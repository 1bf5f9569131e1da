"""What every training stage shares: a progress bar with a log file, and checkpoints that survive a kill."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from longlive.files import atomic_write


class TrainingLog:
    """A progress bar, and one JSON line every ``every`` steps with the running means of what was written."""

    def __init__(
        self, path: Path, name: str, first: int, num_steps: int, *, every: int = 25, quiet: bool = False
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._every, self._quiet = path, every, quiet
        self._sums, self._count = dict[str, float](), 0
        self._bar = tqdm(
            range(first, num_steps), desc=name, initial=first, total=num_steps, mininterval=5, disable=quiet
        )
        self._start = time.time()

    def steps(self) -> Iterator[int]:
        """The steps still to be done."""
        return iter(self._bar)

    def write(self, step: int, **values: float) -> None:
        """Note this step's numbers."""
        if self._quiet:
            return
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if (step + 1) % self._every == 0:
            means = {name: round(total / self._count, 5) for name, total in self._sums.items()}
            self._bar.set_postfix(means)
            line = {"step": step + 1, "seconds": round(time.time() - self._start, 1), **means}
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            self._sums, self._count = {}, 0


def save_checkpoint(
    path: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, average: Any
) -> None:
    """Write all that ``resume`` needs; the last whole checkpoint stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.values,
    }
    with atomic_write(path) as part:
        torch.save(state, part)


def resume(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: Any) -> int:
    """Go on from a checkpoint if there is one; returns the number of the first step still to be done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    average.values = state["average"]
    return int(state["step"])
