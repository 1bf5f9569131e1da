"""A load: who comes to an app, when, for how long, and what each of them does."""

from dataclasses import dataclass

from longlive.benchmark.loadtest.api_viewer import Behaviour
from longlive.benchmark.loadtest.assignments import MOST_ROLES
from longlive.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """A load.

    Attributes:
        viewers: who come first, one each ``apart_s`` seconds.
        browsers: how many of those are pages in a browser.
        seconds: that each of them watches, from its first picture on.
        waiting: more viewers, who come when each of the first has its pictures or its place in line.
        waiting_s: seconds that each of those watches.
        switch_every: seconds between the prompts of a viewer.
        drops: visitors beside them, who start a story and are gone, evenly over the time.
        patience_s: after so long the load is over, wherever it stands.
        read_every: of so many segments of a viewer, one is read; 0 for none.
    """

    viewers: int
    seconds: float = 60.0
    browsers: int = 0
    waiting: int = 0
    waiting_s: float = 10.0
    switch_every: float = 10.0
    drops: int = 0
    apart_s: float = 0.5
    patience_s: float = 900.0
    read_every: int = 1

    def __post_init__(self) -> None:
        if self.viewers < 1 or self.waiting < 0 or self.viewers + self.waiting > MOST_ROLES:
            rule = (
                f"there must be one, and with those who wait at most {MOST_ROLES}: so many colours there are"
            )
            raise ConfigError("viewers", self.viewers, rule, "Try --viewers 4.")
        if not 0 <= self.browsers <= self.viewers:
            rule = "there cannot be more than viewers in all, nor fewer than none"
            raise ConfigError("browsers", self.browsers, rule, "Try --browsers 1.")
        if self.drops and self.waiting:
            rule = "nobody knows who is before whom in line while visitors come and go"
            raise ConfigError("drops", self.drops, rule, "Leave out --drops or --waiting.")
        for name in ("seconds", "waiting_s", "switch_every", "patience_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "it must be above 0", "Leave it out.")

    def habits(self, number: int) -> Behaviour:
        """What viewer ``number`` does; prompts do not come all at once."""
        first_switch = self.switch_every * (number % self.viewers + 1) / self.viewers
        seconds = self.seconds if number < self.viewers else self.waiting_s
        return Behaviour(seconds, first_switch, self.switch_every, self.read_every)
