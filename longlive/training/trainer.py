"""The training loop: train, step, check for NaN, log, sample, save; resumes from the last checkpoint."""

import math
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from longlive.chunks import FrameChunk
from longlive.errors import TrainingError
from longlive.models.bundle import ModelBundle
from longlive.training.checkpoint import Checkpoints
from longlive.training.learner import Learner
from longlive.training.logs import TrainingLog
from longlive.training.processes import Processes
from longlive.training.recipe import Recipe


class Stage(Protocol):
    """A kind of training, as the trainer sees it.

    Attributes:
        learners: the models that it trains, by name.
    """

    learners: dict[str, Learner]

    def train(self, step: int) -> dict[str, float]:
        """Accumulate the gradients of a step in the learners that are due; return the losses."""
        ...

    def due(self, step: int) -> list[str]:
        """Names of the learners that this step updates."""
        ...

    def prompts(self) -> list[str]:
        """Prompts of the last step's samples in this process."""
        ...

    def state(self) -> dict[int, dict[str, Any]]:
        """State of this process's micro-batches, by number; empty if nothing runs on from step to step."""
        ...

    def restore(self, states: dict[int, dict[str, Any]]) -> None:
        """Restore such states."""
        ...


@runtime_checkable
class ModelStage(Stage, Protocol):
    """A stage that trains the transformer of a model: it can draw samples and be exported.

    Attributes:
        models: their transformer is trained.
        subject: name of the learner that trains it.
    """

    models: ModelBundle
    subject: str

    def sample(self, num_latents: int) -> list[FrameChunk]:
        """A video of the current model, always of the same noise and prompt."""
        ...


class Trainer:
    """One run in one folder; every process has a trainer and calls the same methods."""

    def __init__(
        self, stage: Stage, recipe: Recipe, folder: Path, processes: Processes, *, name: str
    ) -> None:
        """Resume from the newest checkpoint of ``folder``, if there is one.

        Args:
            recipe: its ``run`` section is used.
            name: of the stage.
        """
        self.stage, self.recipe = stage, recipe
        self.folder, self.processes, self.name = folder, processes, name
        run = recipe.run
        self.checkpoints = Checkpoints(folder / "checkpoints", processes, keep=run.keep, is_sharded=run.shard)
        self._streams = sorted(stage.state())
        self.first = self._resume()

    def run(self) -> None:
        """Train to the recipe's last step, and save a last checkpoint.

        Raises:
            TrainingError: if a loss or gradient is not finite.
            CheckpointError: if a checkpoint cannot be written.
        """
        run = self.recipe.run
        log = TrainingLog(self.folder, self.name, self.first, run.steps, self.processes)
        try:
            for step in log.steps():
                log.add(self.step(step), run.global_batch)
                if _is_due(step, run.log_every, run.steps):
                    log.write(step + 1)
                if _is_due(step, run.save_every, run.steps):
                    self.save(step + 1)
                if run.sample_every and _is_due(step, run.sample_every, run.steps):
                    self._log_sample(step + 1, log)
        finally:
            log.close()

    def step(self, step: int) -> dict[str, float]:
        """Do one optimisation step; return losses, gradient norms and learning rates."""
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
        """Write a checkpoint from which a run resumes at ``step``."""
        return self.checkpoints.save(step, self._facts(), self.stage.learners, self.stage.state())

    def _resume(self) -> int:
        newest = self.checkpoints.newest()
        if newest is None:
            return 0
        step, states = self.checkpoints.load(newest, self._facts(), self.stage.learners, self._streams)
        self.stage.restore(states)
        return step

    def _facts(self) -> dict[str, Any]:
        """What a run must have in common with the checkpoint from which it resumes."""
        run = self.recipe.run
        batch = {"global_batch": run.global_batch, "micro_batch": run.micro_batch} if self._streams else {}
        return {
            "stage": self.name,
            "seed": run.seed,
            **batch,
            "is_sharded": run.shard,
            "shapes": {name: learner.shapes() for name, learner in self.stage.learners.items()},
        }

    def _check_numbers(self, step: int, values: dict[str, float]) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if not broken:
            return
        prompts = [text for text in self.processes.gather(" | ".join(self.stage.prompts())) if text]
        newest = self.checkpoints.newest()
        kept = f"The last good checkpoint is {newest}." if newest else "There is no checkpoint before it."
        raise TrainingError(
            f"step {step}: {broken[0]} is {values[broken[0]]}, but it must be a finite number. {kept} "
            f"Lower the learning rate, or look at the batch: {' | '.join(prompts)}"
        )

    def _log_sample(self, step: int, log: TrainingLog) -> None:
        """Log a sample video, if the stage can draw one; of a sharded model, every process takes part."""
        if isinstance(self.stage, ModelStage) and (self.processes.is_main or self.recipe.run.shard):
            log.video(step, "sample", self.stage.sample(self.recipe.run.sample_latents))


def _is_due(step: int, every: int, num_steps: int) -> bool:
    """Whether something is due after ``step``: every ``every`` steps, and at the end."""
    return step + 1 == num_steps or (every > 0 and (step + 1) % every == 0)
