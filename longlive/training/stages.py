"""What a kind of training is to the trainer; the kinds are in teaching.py and distillation.py."""

from typing import Any, Protocol

from longlive.chunks import FrameChunk
from longlive.models.bundle import ModelBundle
from longlive.training.learner import Learner


class Stage(Protocol):
    """A kind of training.

    Attributes:
        models: of which it trains the transformer; the others stay as they are.
        subject: name of the learner that moves that transformer.
        learners: what it trains, by name.
    """

    models: ModelBundle
    subject: str
    learners: dict[str, Learner]

    def train(self, step: int) -> dict[str, float]:
        """Leave the gradients of an optimisation step in the learners that are due; return the losses."""
        ...

    def due(self, step: int) -> list[str]:
        """Which learners this step moves."""
        ...

    def prompts(self) -> list[str]:
        """Those of the last step's samples here."""
        ...

    def sample(self, num_latents: int) -> list[FrameChunk]:
        """A video of the model as it is now, always of the same noise and prompt."""
        ...

    def state(self) -> dict[int, dict[str, Any]]:
        """What this process's streams need to go on, by number."""
        ...

    def restore(self, states: dict[int, dict[str, Any]]) -> None:
        """Go on from such states."""
        ...
