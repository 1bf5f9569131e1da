"""How far and how long a story may go, and for whom; told to people before it bites."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longlive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far and how long a run may go; ``words`` tells people.

    Attributes:
        ahead_s: seconds of video that may lie ready beyond the playhead.
        idle_s: a run rests when its player has been silent for so long.
        away_s: a run rests when nobody has followed it for so long.
        grace_s: a run that rests, or has ended, can be taken up again for so long.
        unwatched_s: a run whose player never spoke (a program, say) goes by the clock and ends after so long.
        longest_s: every run ends after so long.
        shared_s: after so long it ends if others wait; the warning comes ``warning_s`` before.
        warning_s: how long before its end a run is warned.
        video_s: a run ends when it has made so much video.
        queue: prompts that may wait for their chunk.
        prompts_per_minute: that one viewer may send.
        line: runs that may wait for room.
        per_address: runs of one address that may go on or wait at once.
    """

    ahead_s: float = 1.5
    idle_s: float = 15.0
    away_s: float = 5.0
    grace_s: float = 600.0
    unwatched_s: float = 120.0
    longest_s: float = 1800.0
    shared_s: float = 300.0
    warning_s: float = 30.0
    video_s: float = math.inf
    queue: int = 8
    prompts_per_minute: int = 30
    line: int = 16
    per_address: int = 8

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Limits":
        """From the options of a command, others among them; what is not among them is as usual.

        Raises:
            ConfigError: if one is not above 0.
        """
        names = [field.name for field in dataclasses.fields(cls) if field.name in values]
        for name in names:
            if not values[name] > 0:
                raise ConfigError(name, values[name], "it must be above 0", "Leave it out for the usual.")
        return cls(**{name: values[name] for name in names})

    def words(self) -> str:
        """What a viewer should know before it bites."""
        return f"A story lasts up to {span(self.longest_s)}, or {span(self.shared_s)} while others wait."


def span(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes"
