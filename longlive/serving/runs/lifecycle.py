"""Where a run is in its life."""

from dataclasses import dataclass

from longlive.serving.executors.messages import Stop
from longlive.serving.scheduler import RunStatus

BRANCHED = "branch of another video"
"""The interruption of a run that begins with chunks of another one."""


@dataclass
class Lifecycle:
    """Where a run is in its life; times are seconds of ``time.monotonic``.

    Attributes:
        status: changed by the engine alone, as the scheduler says.
        arrived, changed: when it was started, and when it got its status.
        admitted: when it first got a slot.
        running_s: how long it ran before ``changed``.
        stop: the stop that was asked for.
        is_suspending: it was told to let go of the model.
        has_returned: its viewer came back since.
        is_warned: its viewer was warned that it will stop soon.
        queue_position, queue_updated: the position that its viewer was told, and when.
        attempts: streams that ended without a new chunk, in a row.
        interruption: why it does not go on without a break.
    """

    status: RunStatus
    arrived: float
    changed: float
    admitted: float | None = None
    running_s: float = 0.0
    stop: Stop | None = None
    is_suspending: bool = False
    has_returned: bool = False
    is_warned: bool = False
    queue_position: int = 0
    queue_updated: float = 0.0
    attempts: int = 0
    interruption: str = ""
