"""The loop of a run: train, step, watch for NaN, log, sample, save; and going on where it was killed."""

import math
from pathlib import Path
from typing import Any

from longlive.errors import TrainingError
from longlive.training.checkpoint import Checkpoints
from longlive.training.logs import Log
from longlive.training.processes import Processes
from longlive.training.recipe import Recipe
from longlive.training.stages import Stage


class Trainer:
    """One run in one folder; every process has one, and calls the same methods."""

    def __init__(
        self, stage: Stage, recipe: Recipe, folder: Path, processes: Processes, *, name: str
    ) -> None:
        """Go on from the newest checkpoint of ``folder``, if there is one.

        Args:
            name: of the stage.
        """
        self.stage, self.recipe = stage, recipe
        self.folder, self.processes, self.name = folder, processes, name
        run = recipe.run
        self.checkpoints = Checkpoints(folder / "checkpoints", processes, keep=run.keep, is_sharded=run.shard)
        self.first = self._resume()

    def run(self) -> None:
        """Train to the recipe's last step; the last checkpoint holds its end.

        Raises:
            TrainingError: if a loss or gradient is no number.
            CheckpointError: if a checkpoint cannot be written.
        """
        run = self.recipe.run
        log = Log(self.folder, self.name, self.first, run.steps, self.processes)
        try:
            for step in log.steps():
                log.add(self.step(step), run.global_batch)
                if _is_due(step, run.log_every, run.steps):
                    log.write(step + 1)
                if _is_due(step, run.save_every, run.steps):
                    self.save(step + 1)
                if run.sample_every and _is_due(step, run.sample_every, run.steps):
                    self._show(step + 1, log)
        finally:
            log.close()

    def step(self, step: int) -> dict[str, float]:
        """One optimisation step; returns losses, gradient norms and learning rates."""
        losses = self.processes.mean(self.stage.train(step))
        self._check_numbers(step, losses)
        values = dict(losses)
        for name in self.stage.due(step):
            learner = self.stage.learners[name]
            values[f"{name}_norm"] = learner.step(step)
            values[f"{name}_lr"] = learner.options.lr_at(step, self.recipe.run.steps)
        self._check_numbers(step, values)
        return values

    def save(self, step: int) -> Path:
        """Write a checkpoint to go on from at ``step``."""
        return self.checkpoints.save(step, self._facts(), self.stage.learners, self.stage.state())

    def _resume(self) -> int:
        newest = self.checkpoints.newest()
        if newest is None:
            return 0
        own = self.processes.streams(self.recipe.run.num_streams)
        step, states = self.checkpoints.load(newest, self._facts(), self.stage.learners, own)
        self.stage.restore(states)
        return step

    def _facts(self) -> dict[str, Any]:
        """What a run that goes on must have in common with the one that wrote a checkpoint."""
        run = self.recipe.run
        return {
            "stage": self.name,
            "seed": run.seed,
            "global_batch": run.global_batch,
            "micro_batch": run.micro_batch,
            "is_sharded": run.shard,
            "shapes": {name: learner.shapes() for name, learner in self.stage.learners.items()},
        }

    def _check_numbers(self, step: int, values: dict[str, float]) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if not broken:
            return
        prompts = [words for words in self.processes.gather(" | ".join(self.stage.prompts())) if words]
        newest = self.checkpoints.newest()
        kept = f"The last good checkpoint is {newest}." if newest else "There is no checkpoint before it."
        raise TrainingError(
            f"step {step}: {broken[0]} is {values[broken[0]]}, but it must be a finite number. {kept} "
            f"Lower the learning rate, or look at the batch: {' | '.join(prompts)}"
        )

    def _show(self, step: int, log: Log) -> None:
        """A sample video; sharded models need every process to make it."""
        if self.processes.is_main or self.recipe.run.shard:
            log.video(step, "sample", self.stage.sample(self.recipe.run.sample_latents))


def _is_due(step: int, every: int, num_steps: int) -> bool:
    """Whether something is done after ``step``: every so often, and at the end."""
    return step + 1 == num_steps or (every > 0 and (step + 1) % every == 0)
