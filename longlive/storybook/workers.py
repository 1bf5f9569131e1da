"""Run the storybook's own training stages: data-parallel processes of one thread each, on one machine.

On two cores this is faster than one process of two threads, and much faster if another program needs a core.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from longlive.errors import CheckpointError
from longlive.runtime.allocator import configure_cpu
from longlive.training.processes import Processes
from longlive.training.recipe import Recipe, RunOptions
from longlive.training.trainer import Stage, Trainer


def run_in_processes(task: Callable[..., None], num_workers: int, options: dict[str, Any]) -> None:
    """Run ``task(processes=..., **options)`` in ``num_workers`` processes; a single one is this process."""
    if num_workers == 1:
        configure_cpu(1)
        task(processes=Processes(), **options)
        return
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = f"file://{os.path.join(folder, 'rendezvous')}"
        torch.multiprocessing.spawn(_run, (task, num_workers, rendezvous, options), nprocs=num_workers)


def _run(
    rank: int, task: Callable[..., None], num_workers: int, rendezvous: str, options: dict[str, Any]
) -> None:
    configure_cpu(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=num_workers)
    try:
        task(processes=Processes(rank, num_workers), **options)
    finally:
        dist.destroy_process_group()


class StorybookStage:
    """Base of the storybook's stages: one learner, nothing that runs on from step to step."""

    def due(self, step: int) -> list[str]:
        """Every learner at every step."""
        return list(self.learners)  # type: ignore[attr-defined]

    def prompts(self) -> list[str]:
        """No prompts: a batch is found again by its step."""
        return []

    def state(self) -> dict[int, dict[str, Any]]:
        """No state, so that a run may resume with another number of processes."""
        return {}

    def restore(self, states: dict[int, dict[str, Any]]) -> None:
        """Nothing to restore."""


def new_trainer(stage: Stage, name: str, folder: Path, run: RunOptions, processes: Processes) -> Trainer:
    """A trainer for ``folder / name``, resumed from its newest checkpoint.

    Raises:
        CheckpointError: if there is only a checkpoint of an earlier edition (``NAME.pt``).
    """
    old = folder / f"{name}.pt"
    if old.exists() and not (folder / name / "checkpoints").exists():
        raise CheckpointError(
            f"{old} is a checkpoint of an earlier version, from which this one cannot resume. Remove it to "
            "train this stage from the beginning, or use another --folder and --start-from a released model."
        )
    return Trainer(stage, Recipe(run=run), folder / name, processes, name=name)
