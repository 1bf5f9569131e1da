"""A CUDA stream beside the main one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SideStream:
    """A stream of a device beside its main one; on a CPU, nothing.

    Its work goes first: pictures that somebody waits for, before the next chunk.
    """

    def __init__(self, device: torch.device) -> None:
        """For work on ``device``."""
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None

    def mark(self) -> "torch.cuda.Event | None":
        """What has been asked of the main stream up to now."""
        if self._stream is None:
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._stream.device))
        return event

    @contextmanager
    def after(self, mark: "torch.cuda.Event | None", needed: Tensor) -> Iterator[None]:
        """What is asked for inside begins when ``mark`` is reached; ``needed`` stays until it is done."""
        if self._stream is None:
            yield
            return
        if mark is None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        else:
            self._stream.wait_event(mark)
        needed.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield
