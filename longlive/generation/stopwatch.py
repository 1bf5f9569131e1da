"""Milliseconds by stage, on the device's own clock, so that nobody has to wait for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Times the stages of a chunk; only who asks for ``ms`` waits until the device has done them."""

    def __init__(self, device: torch.device) -> None:
        """For work on a device: CUDA events there, the host's clock elsewhere."""
        self._is_cuda = device.type == "cuda"
        self.clear()

    def clear(self) -> None:
        """Begin another chunk."""
        self._ms: dict[str, float] = {}
        self._events: dict[str, tuple[torch.cuda.Event, torch.cuda.Event]] = {}

    @property
    def ms(self) -> dict[str, float]:
        """Milliseconds of each stage since ``clear``."""
        while self._events:
            name, (begun, ended) = self._events.popitem()
            ended.synchronize()
            self._ms[name] = max(self._ms[name], begun.elapsed_time(ended))
        return self._ms

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside, on the host and on the device: the longer of both counts."""
        if self._is_cuda:
            self._events[name] = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            self._events[name][0].record()
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._ms[name] = (time.perf_counter() - begun) * 1000
            if self._is_cuda:
                self._events[name][1].record()
