"""What a viewer of a load test does, and the log of what it got."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Behaviour:
    """What a viewer does.

    Attributes:
        seconds: to watch, from the first picture on.
        first_switch: seconds from the first picture to the second prompt.
        switch_every: seconds between prompts from then on.
        read_every: keep one of so many segments, to read its pictures later; 0 for none.
    """

    seconds: float
    first_switch: float
    switch_every: float
    read_every: int = 1


@dataclass(frozen=True)
class Arrival:
    """A segment as it came; ``data`` is its H.264, empty if its pictures are not read.

    ``at`` is of ``time.monotonic``, as in all classes of this module.
    """

    at: float
    first_frame: int
    num_frames: int
    fps: int
    prompt: str
    data: bytes = b""

    @property
    def start_s(self) -> float:
        """When its first picture is due, in seconds of the video."""
        return self.first_frame / self.fps

    @property
    def end_s(self) -> float:
        """When its last picture is over, in seconds of the video."""
        return (self.first_frame + self.num_frames) / self.fps


@dataclass(frozen=True)
class QueueUpdate:
    """A queue position (1 is next) that a viewer was sent, with the longest wait in seconds, if known."""

    at: float
    position: int
    wait_s: float | None


@dataclass(frozen=True)
class SentPrompt:
    """A prompt that was sent; ``turn`` counts the viewer's prompts, the first one of Start being 0."""

    at: float
    turn: int
    text: str


@dataclass
class ViewerLog:
    """What a viewer did and got.

    Attributes:
        started_at: when it pressed Start.
        first_at: when the first segment came.
        left_at: when it pressed Stop.
        ended_at: when the last message came, or the stream broke.
        refusals: error messages of prompts that were refused.
        notices: messages that came beside the video.
        replayed: messages that had to be asked for, because a later one came before them.
        playhead_latencies_s: how long the server took to answer each report of the playhead.
        rejected_playheads: reports of the playhead that the server did not accept.
        end: the last message.
        has_failed: whether the run ended otherwise than the viewer wanted.
    """

    started_at: float | None = None
    first_at: float | None = None
    left_at: float | None = None
    ended_at: float | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    queue_updates: list[QueueUpdate] = field(default_factory=list)
    sent: list[SentPrompt] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    replayed: int = 0
    playhead_latencies_s: list[float] = field(default_factory=list)
    rejected_playheads: int = 0
    end: str = ""
    has_failed: bool = False
