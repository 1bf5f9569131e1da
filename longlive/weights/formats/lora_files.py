"""LoRA files as people name them: a path, and how strongly it is merged. Nothing heavy is imported here."""

import math
from dataclasses import dataclass
from pathlib import Path

from longlive.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on this machine, to be merged into a model.

    Attributes:
        path: as ``read_lora`` reads.
        strength: what its changes are multiplied by, not 0; 1 is as it was trained.
        scale: in place of alpha / rank; None: what the file states.

    Raises:
        ConfigError: if the scale is not finite.
    """

    path: Path
    strength: float = 1.0
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not math.isfinite(self.scale):
            raise ConfigError("--lora-scale", self.scale, "it must be a finite number", "Try 0.5.")

    @classmethod
    def parse(cls, text: str) -> "LoraFile":
        """``FILE`` or ``FILE=STRENGTH``; a file whose name has a ``=`` is taken by its name.

        Raises:
            ConfigError: for a strength that is no number, or changes nothing.
            CheckpointError: when the file does not exist.
        """
        path, equals, strength = text.rpartition("=")
        if not equals or Path(text).exists():
            path, strength = text, "1"
        file = cls(Path(path), _strength(text, strength))
        if not file.path.exists():
            raise CheckpointError(f"There is no file {file.path}. Correct the path.")
        return file

    def __str__(self) -> str:
        """Its name and strength, for people."""
        return self.path.name if self.strength == 1 else f"{self.path.name} at {self.strength:g}"


def _strength(text: str, value: str) -> float:
    try:
        strength = float(value)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        rule = f"what stands after = is the strength, and {value!r} is no number"
        raise ConfigError("--lora", text, rule, "Try FILE=0.8.")
    if strength == 0:
        raise ConfigError("--lora", text, "a strength of 0 changes nothing", "Leave that LoRA out.")
    return strength
