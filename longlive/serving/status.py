"""The state of an engine in numbers; nothing in it is about any viewer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from longlive.config import Size


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """One moment of an engine.

    Attributes:
        running: runs that are being made.
        waiting: viewers in the queue.
        suspended: runs whose viewer is away and may come back.
        capacity: runs that can be made in real time; while runs of several models are made, at least.
        fps: pictures per second that were made for all runs together in the last seconds.
        executor: where runs are made: thread, zerogpu or ray.
        model: name of the default model.
        models: names of all models.
        sizes: of each model's pictures, its own first.
        is_ready: whether the model is loaded and warm.
        is_alive: whether there is a worker that can make a chunk.
    """

    running: int
    waiting: int
    capacity: int
    executor: str
    model: str
    models: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[Size, ...]] = field(default_factory=dict)
    suspended: int = 0
    fps: float = 0.0
    is_ready: bool = True
    is_alive: bool = True
