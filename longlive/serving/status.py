"""How the house stands, in numbers: what is told outside, and nothing of anybody in it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """One moment of an engine.

    Attributes:
        sessions: stories that are being made.
        waiting: viewers in the line.
        parked: stories whose viewer is away and may come back.
        room: stories that can be made in real time.
        fps: pictures per second that were made for all together in the last seconds.
        carrier: where stories are made: thread, zerogpu or ray.
        model: its name.
        is_ready: whether the model is loaded and warm.
        is_alive: whether there is a worker that can make a chunk.
    """

    sessions: int
    waiting: int
    room: int
    carrier: str
    model: str
    parked: int = 0
    fps: float = 0.0
    is_ready: bool = True
    is_alive: bool = True
