"""Quirks of the released training code that can be restored, for parity with it.

Source: LongLive (arXiv:2509.22622) and its released training code.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class ReleasedQuirks:
    """Deviations of the released training from the paper and from its own inference; all False by default.

    Attributes:
        zeroes_sink: a recache without the global sink zeroes the cache and writes back only the last clip, so
            that a switch after the first clip leaves zero keys and values in the sink for good.
        ignores_global_sink: a switch in training never keeps the sink, whatever the StreamConfig says.
        leaks_gradients: the clean pass overwrites what the exit pass left in the cache, but not its history:
            later chunks of a clip send gradients through values that are no longer there.
        noises_context: the clean context is noised by the schedule entry nearest to the timestep of the
            clean pass (sigma 0.00498 for timestep 0); inference never does so.
        text_gradients_by_checkpointing: keys and values of the prompt carry gradients only if the blocks are
            checkpointed, or if the pass that first needs them is the exit pass.
        has_two_schedules: the velocities of teacher and critic are turned into clean latents with a schedule
            of shift 8, although the noise was added with the generator's schedule.
        doubles_guidance: guidance is cond + g (cond - uncond), so 3 stands for 4 in the usual convention.
        normalises_overlap: the normaliser of the DMD gradient counts the latents that carry no loss as well.
        hides_nan: NaN in the DMD gradient becomes zero, so that a broken run goes on.
    """

    zeroes_sink: bool = False
    ignores_global_sink: bool = False
    leaks_gradients: bool = False
    noises_context: bool = False
    text_gradients_by_checkpointing: bool = False
    has_two_schedules: bool = False
    doubles_guidance: bool = False
    normalises_overlap: bool = False
    hides_nan: bool = False

    @classmethod
    def as_released(cls) -> "ReleasedQuirks":
        """All of them, for parity with the released code."""
        return cls(**{field.name: True for field in fields(cls)})
