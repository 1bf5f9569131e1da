"""Work on a CUDA stream beside the current one, ordered by events."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def mark(device: torch.device) -> "torch.cuda.Event | None":
    """An event behind what has been launched on a device's current stream so far; None on a CPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


class SideStream:
    """A CUDA stream beside the current one; on a CPU, work simply runs where it is called."""

    def __init__(self, device: torch.device) -> None:
        """For work on ``device``."""
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def after(self, event: "torch.cuda.Event | None", needed: Tensor) -> Iterator[None]:
        """Launch what is inside on this stream.

        Args:
            event: of ``mark``, to wait for; None waits for all that the current stream has been given.
            needed: a tensor that the work reads; its memory is not reused before the work is done.
        """
        if self._stream is None:
            yield
            return
        if event is None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        else:
            self._stream.wait_event(event)
        needed.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield
