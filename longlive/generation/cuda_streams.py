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


# Reused, since torch keeps freed memory for the stream that it was allocated on: with a new stream, each
# session would allocate its decoder's memory again.
_idle: dict[torch.device, list["torch.cuda.Stream"]] = {}


def _take(device: torch.device) -> "torch.cuda.Stream":
    index = torch.cuda.current_device() if device.index is None else device.index
    try:
        return _idle[torch.device("cuda", index)].pop()
    except (KeyError, IndexError):
        return torch.cuda.Stream(device, priority=-1)


class SideStream:
    """A CUDA stream beside the current one; on a CPU, work simply runs where it is called.

    Its kernels have priority: pictures that a viewer waits for go before the next chunk.
    """

    def __init__(self, device: torch.device) -> None:
        """Take an idle stream of ``device``, or a new one."""
        self._stream = _take(device) if device.type == "cuda" else None

    def close(self) -> None:
        """Leave the stream to the next that needs one; this object must not be used again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            _idle.setdefault(stream.device, []).append(stream)

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
