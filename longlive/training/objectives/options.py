"""Choices of the training's mathematics, and the defects of the released code that can be restored.

Source: LongLive (arXiv:2509.22622) and its released training code. Frozen and validated on construction.
"""

from dataclasses import dataclass, fields

from longlive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReleasedQuirks:
    """What the released training does and ours does not; each False unless it is asked for by name.

    Attributes:
        zeroes_sink: a recache without the global sink empties the memory and writes the last clip back, so
            that a switch after the first clip leaves zero keys and values in the sink for good.
        ignores_global_sink: a switch in training never keeps the sink, whatever the stream says.
        leaks_gradients: the clean pass overwrites what the exit pass left in the cache, but not its history:
            later chunks of a clip send gradients through values that are no longer there.
        noises_context: what is remembered is noised by the timetable's entry nearest to the label of the
            clean pass, sigma 0.00498 for label 0; streaming never does so.
        text_gradients_by_checkpointing: keys and values of the prompt carry gradients only if the blocks are
            checkpointed, or if the pass that first needs them is the exit pass.
        has_two_timetables: teacher and critic turn velocities into clean latents by a timetable of shift 8,
            while the noise was mixed in by the generator's.
        doubles_guidance: guidance is cond + g (cond - uncond), so 3 stands for 4 in the usual convention.
        normalises_overlap: the normaliser of the DMD gradient counts the latents that carry no loss as well.
        hides_nan: NaN in the DMD gradient becomes zero, so that a broken run goes on.
    """

    zeroes_sink: bool = False
    ignores_global_sink: bool = False
    leaks_gradients: bool = False
    noises_context: bool = False
    text_gradients_by_checkpointing: bool = False
    has_two_timetables: bool = False
    doubles_guidance: bool = False
    normalises_overlap: bool = False
    hides_nan: bool = False

    @classmethod
    def as_released(cls) -> "ReleasedQuirks":
        """All of them, for parity with the released code."""
        return cls(**{field.name: True for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class StreamingOptions:
    """How long the sequences of a run are and how they are cut into clips.

    Attributes:
        clip: latents that teacher and critic see.
        new_latents: latents that each clip after the first adds; the others overlap with the clip before.
        max_latents: no sequence is longer. With ``clip`` itself, each sequence is one clip (plain DMD).
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
        """Latents that a clip after the first shares with the one before."""
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
    """Numbers of distribution matching distillation (DMD2, arXiv:2405.14867; Self-Forcing, arXiv:2506.08009).

    Attributes:
        guidance: of the teacher; 1 is none. The usual convention, unless ``ReleasedQuirks.doubles_guidance``.
        min_timestep, max_timestep: within [0, 1000]; drawn ones are clamped to them after the shift.
        sigma_floor: noise levels below it weigh no more than it in the critic's loss; 0 is the plain
            flow-matching loss. For critics that predict clean latents, whose errors do not vanish with sigma.
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
        """The released numbers, for ``ReleasedQuirks.as_released()``: there, guidance 3 stands for 4."""
        return cls(guidance=3.0)
