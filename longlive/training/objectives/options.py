"""Numbers of the training objectives: clips, sequences, guidance and timesteps.

Source: LongLive (arXiv:2509.22622) and its released training code. Frozen and validated on construction.
"""

from dataclasses import dataclass

from longlive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StreamingOptions:
    """Length of the sequences, and how they are cut into clips.

    Attributes:
        clip: latents in a clip, the input of teacher and critic.
        new_latents: new latents of each clip after the first; the others overlap with the clip before.
        max_latents: maximum length of a sequence; equal to ``clip``, each sequence is one clip (plain DMD).
        has_switch: the prompt changes once per sequence, at the start of a clip.
    """

    clip: int = 21
    new_latents: int = 18
    max_latents: int = 240
    has_switch: bool = True

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        if self.clip < 1:
            raise ConfigError("clip", self.clip, "a clip holds at least one latent", "The paper has 21.")
        if not 0 < self.new_latents <= self.clip:
            rule = f"a clip of {self.clip} latents holds 1 to {self.clip} new ones"
            raise ConfigError("new_latents", self.new_latents, rule, "The paper has 18 of 21.")
        if self.max_latents < self.clip:
            rule = f"a sequence holds at least one clip of {self.clip} latents"
            raise ConfigError("max_latents", self.max_latents, rule, "The paper has 240.")

    @property
    def overlap(self) -> int:
        """Latents that a clip shares with the clip before."""
        return self.clip - self.new_latents

    @property
    def starts(self) -> tuple[int, ...]:
        """The first new latent of each clip of a sequence: 0, 21, 39, ..., 219 with the paper's numbers."""
        return (0, *range(self.clip, self.max_latents - self.new_latents + 1, self.new_latents))

    @property
    def switch_starts(self) -> tuple[int, ...]:
        """Where the prompt may change: the start of every clip but the first and, if it can be, the last."""
        if not self.has_switch:
            return ()
        return self.starts[1:-1] or self.starts[1:]


@dataclass(frozen=True, kw_only=True)
class DmdOptions:
    """Options of distribution matching distillation (DMD2, arXiv:2405.14867; Self-Forcing, arXiv:2506.08009).

    Attributes:
        guidance: scale of the teacher's classifier-free guidance; 1 is none.
        min_timestep, max_timestep: range to which timesteps are clamped, within [0, 1000].
        sigma_floor: lower bound of sigma in the critic's loss weight; 0 is the plain flow-matching loss. For
            critics that predict clean latents, whose errors do not vanish with sigma.
    """

    guidance: float = 4.0
    min_timestep: float = 20.0
    max_timestep: float = 980.0
    sigma_floor: float = 0.0

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        if self.guidance < 0:
            raise ConfigError("guidance", self.guidance, "it cannot be negative", "The paper's is 4.")
        if not 0 <= self.min_timestep < self.max_timestep <= 1000:
            rule = f"the timesteps must rise within [0, 1000], and max_timestep is {self.max_timestep}"
            raise ConfigError("min_timestep", self.min_timestep, rule, "The paper has 20 and 980.")
        if not 0 <= self.sigma_floor <= 1:
            raise ConfigError("sigma_floor", self.sigma_floor, "it is a noise level in [0, 1]", "Try 0.3.")

    @classmethod
    def as_released(cls) -> "DmdOptions":
        """The released values, for use with ``ReleasedQuirks.as_released()``: there, guidance 3 means 4."""
        return cls(guidance=3.0)
