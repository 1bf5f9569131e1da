"""How long a run may take, how far it may run ahead, and how many viewers are let in."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longlive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far and how long a run may go.

    Attributes:
        buffer_ahead_s: seconds of video that may be ready beyond the playhead.
        heartbeat_timeout_s: a run is suspended when its player has been silent for so long.
        disconnect_timeout_s: a run is suspended when nobody has followed it for so long.
        retention_s: a run that is suspended or finished can be resumed for so long.
        no_player_timeout_s: a run without a player (a program, say) is paced by the clock and stops after
            so long.
        max_duration_s: every run stops after so long.
        contended_duration_s: a run stops after so long if others wait.
        warning_s: a viewer is warned so long before either limit.
        max_video_s: a run is complete when it has made so much video.
        max_pending_prompts: prompts of a viewer that may wait for their chunk.
        prompts_per_minute: prompts that a viewer may send.
        max_queue_size: runs that may wait for a slot.
        max_runs_per_address: runs of one address that may run or wait at once.
        max_takes: finished runs that are kept of one viewer who watches another one.
    """

    buffer_ahead_s: float = 1.5
    heartbeat_timeout_s: float = 15.0
    disconnect_timeout_s: float = 5.0
    retention_s: float = 600.0
    no_player_timeout_s: float = 120.0
    max_duration_s: float = 1800.0
    contended_duration_s: float = 300.0
    warning_s: float = 30.0
    max_video_s: float = math.inf
    max_pending_prompts: int = 8
    prompts_per_minute: int = 30
    max_queue_size: int = 16
    max_runs_per_address: int = 8
    max_takes: int = 24

    def for_clip(self, seconds: float) -> "Limits":
        """The same for a video of so many seconds that no player paces: it is made as fast as can be."""
        return dataclasses.replace(
            self, buffer_ahead_s=math.inf, no_player_timeout_s=math.inf, max_video_s=seconds
        )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Limits":
        """The limits among the options of a command; those that are missing keep their defaults.

        Raises:
            ConfigError: if one is not above 0.
        """
        names = [field.name for field in dataclasses.fields(cls) if field.name in values]
        for name in names:
            if not values[name] > 0:
                raise ConfigError(name, values[name], "it must be above 0", "Leave it out for the default.")
        return cls(**{name: values[name] for name in names})
