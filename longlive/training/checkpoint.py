"""Checkpoints of a run: written to a partial folder that is renamed once complete.

``FOLDER/checkpoints/step-0000120`` holds ``facts.json`` (stage, seed, batch, shapes), ``learners.pt``
(parameters, optimizers, averages; under FSDP2 a sharded ``learners`` folder) and ``stream-0003.pt`` per
micro-batch.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from longlive.errors import CheckpointError, reason_of
from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.training.sharding import load_sharded, save_sharded

FORMAT = 1
NAME = "step-{:07d}"
PARTIAL = ".partial"
FACTS, LEARNERS, STREAM = "facts.json", "learners.pt", "stream-{:04d}.pt"

Streams = dict[int, dict[str, Any]]


class Checkpoints:
    """The checkpoints in a folder; every process calls the same methods."""

    def __init__(self, folder: Path, processes: Processes, *, keep: int, is_sharded: bool = False) -> None:
        """Keep the newest ``keep`` checkpoints; ``is_sharded`` if the learners are sharded (FSDP2)."""
        self.folder = folder
        self._processes, self._keep, self._is_sharded = processes, keep, is_sharded

    def newest(self) -> Path | None:
        """The newest complete checkpoint; None if there is none."""
        return next(reversed(self._whole()), None)

    def save(
        self, step: int, facts: Mapping[str, Any], learners: Mapping[str, Learner], own: Streams
    ) -> Path:
        """Write a checkpoint from which a run resumes at optimisation step ``step``.

        Args:
            facts: JSON; only a run with the same facts may resume from it.
            own: the states of this process's micro-batches, by number.

        Raises:
            CheckpointError: if any process could not write; older checkpoints are left as they were.
        """
        path = self.folder / NAME.format(step)
        partial = path.with_name(path.name + PARTIAL)
        fault = ""
        try:
            if self._processes.is_main:
                for half in self.folder.glob(f"step-*{PARTIAL}"):
                    shutil.rmtree(half)
                partial.mkdir(parents=True)
        except OSError as error:
            fault = str(error)
        self._agree(fault, partial)
        try:
            self._write(partial, dict(facts) | {"format": FORMAT, "step": step}, learners, own)
        except (OSError, RuntimeError) as error:
            fault = str(error)
        self._agree(fault, partial)
        if self._processes.is_main:
            shutil.rmtree(path, ignore_errors=True)
            partial.rename(path)
            for old in self._whole()[: -self._keep]:
                shutil.rmtree(old)
        self._processes.wait()
        return path

    def load(
        self, path: Path, facts: Mapping[str, Any], learners: Mapping[str, Learner], own: Iterable[int]
    ) -> tuple[int, Streams]:
        """Restore the learners; return the next step and the states of this process's micro-batches ``own``.

        Raises:
            CheckpointError: if it is broken, or belongs to a run with other facts; names what differs.
        """
        found = self._facts(path)
        _check_same(path, found, facts)
        try:
            self._read_learners(path, learners)
            streams = {number: _load(path / STREAM.format(number), self._processes.device) for number in own}
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is broken: {reason_of(error)}. Remove it, and the run goes on from the one before."
            ) from error
        return int(found["step"]), streams

    def _whole(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.suffix != PARTIAL)

    def _write(
        self, partial: Path, facts: dict[str, Any], learners: Mapping[str, Learner], own: Streams
    ) -> None:
        for number, state in own.items():
            torch.save(state, partial / STREAM.format(number))
        if self._is_sharded:
            save_sharded(partial / "learners", learners)
        elif self._processes.is_main:
            torch.save({name: learner.state() for name, learner in learners.items()}, partial / LEARNERS)
        if self._processes.is_main:
            (partial / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def _read_learners(self, path: Path, learners: Mapping[str, Learner]) -> None:
        if self._is_sharded:
            load_sharded(path / "learners", learners)
            return
        states = _load(path / LEARNERS)
        for name, learner in learners.items():
            learner.load(states[name])

    def _agree(self, fault: str, partial: Path) -> None:
        """Raise the first fault of any process in all processes, and remove the partial checkpoint."""
        faults = [text for text in self._processes.gather(fault) if text]
        if not faults:
            return
        if self._processes.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        newest = self.newest()
        kept = f"The last good one is {newest}." if newest else "There is none before it."
        name = partial.name.removesuffix(PARTIAL)
        raise CheckpointError(
            f"the checkpoint {name} could not be written: {faults[0]}. {kept} Free some space, and start the "
            "same command again."
        )

    def _facts(self, path: Path) -> dict[str, Any]:
        try:
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} is broken: {reason_of(error)}. Remove it, and the run goes on from the one before."
            ) from error
        return facts


def read_averages(path: Path, learner: str) -> dict[str, Tensor]:
    """The moving averages of a learner in an unsharded checkpoint, by parameter name."""
    return _load(path / LEARNERS)[learner]["average"]


def _check_same(path: Path, found: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise CheckpointError for another format, stage, seed, batch or shape."""
    for name, expected in {"format": FORMAT, **facts}.items():
        if name != "shapes" and found.get(name) != expected:
            raise CheckpointError(
                f"{path}: {name} is {found.get(name)!r}, but this run has {expected!r}. "
                "Use another --folder, or the recipe that wrote it."
            )
    for learner, shapes in facts.get("shapes", {}).items():
        other = found.get("shapes", {}).get(learner, {})
        differing = [name for name in sorted({*shapes, *other}) if shapes.get(name) != other.get(name)]
        if differing:
            name = differing[0]
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise CheckpointError(
                f"{path}: {name} of the {learner} is {other.get(name)}, but this run has {shapes.get(name)}"
                f"{more}. It belongs to another model or LoRA rank: use another --folder, or its recipe."
            )


def _load(path: Path, device: torch.device | str = "cpu") -> Any:
    return torch.load(path, map_location=device, weights_only=True)
