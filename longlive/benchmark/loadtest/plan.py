"""The plan of a load test: how many viewers come, when, for how long, and what they do."""

from dataclasses import dataclass

from longlive.benchmark.loadtest.assignments import MAX_VIEWERS
from longlive.benchmark.loadtest.viewer_log import Behaviour
from longlive.errors import ConfigError

MAX_SETTLE_S = 15.0


@dataclass(frozen=True)
class Plan:
    """A load.

    Attributes:
        viewers: who come first, one every ``apart_s`` seconds.
        browsers: how many of those are pages in a browser.
        seconds: that each of them watches, from its first picture on.
        waiting: more viewers, who come when each of the first has its first picture or a queue position.
        waiting_s: seconds that each of those watches.
        switch_every: seconds between the prompts of a viewer.
        drops: clients beside them that start a video and abandon it, evenly over the time.
        watchers: who watch the videos of the API's viewers along, once all have pictures.
        watcher_browsers: how many of those are pages in a browser.
        timeout_s: seconds after which the load test ends in any case.
        read_every: read one of so many segments of a viewer; 0 for none.
    """

    viewers: int
    seconds: float = 60.0
    browsers: int = 0
    waiting: int = 0
    waiting_s: float = 10.0
    switch_every: float = 10.0
    drops: int = 0
    watchers: int = 0
    watcher_browsers: int = 0
    apart_s: float = 0.5
    timeout_s: float = 900.0
    read_every: int = 1

    def __post_init__(self) -> None:
        if self.viewers < 1 or self.waiting < 0 or self.viewers + self.waiting > MAX_VIEWERS:
            rule = (
                f"it must be at least 1, and at most {MAX_VIEWERS} with --waiting, each with its own colours"
            )
            raise ConfigError("viewers", self.viewers, rule, "Try --viewers 4.")
        if not 0 <= self.browsers <= self.viewers:
            rule = f"it must be between 0 and the number of viewers, {self.viewers}"
            raise ConfigError("browsers", self.browsers, rule, "Try --browsers 1.")
        if not 0 <= self.watcher_browsers <= self.watchers:
            rule = f"it must be between 0 and the number of watchers, {self.watchers}"
            raise ConfigError("watcher-browsers", self.watcher_browsers, rule, "Try --watcher-browsers 1.")
        if self.watchers and self.browsers == self.viewers:
            rule = "they watch the videos of viewers that are no browsers"
            raise ConfigError("watchers", self.watchers, rule, "Try one viewer more.")
        if self.drops and self.waiting:
            rule = "queue positions cannot be checked while abandoning clients come and go"
            raise ConfigError("drops", self.drops, rule, "Leave out --drops or --waiting.")
        for name in ("seconds", "waiting_s", "switch_every", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "it must be above 0", "Leave it out.")

    @property
    def settle_s(self) -> float:
        """Seconds from the viewers' first pictures to the first watcher."""
        return min(MAX_SETTLE_S, self.seconds / 6)

    def behaviour(self, number: int) -> Behaviour:
        """What viewer ``number`` does; the viewers' prompts are spread over ``switch_every``."""
        first_switch = self.switch_every * (number % self.viewers + 1) / self.viewers
        seconds = self.seconds if number < self.viewers else self.waiting_s
        return Behaviour(seconds, first_switch, self.switch_every, self.read_every)
