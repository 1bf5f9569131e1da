"""Milliseconds by stage, on the device's own clock, so that measuring makes nothing wait."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Times the stages of a chunk; only reading ``ms`` waits until the device has finished them."""

    def __init__(self, device: torch.device) -> None:
        """For work on a device: CUDA events there, the host's clock elsewhere."""
        self._is_cuda = device.type == "cuda"
        self.clear()

    def clear(self) -> None:
        """Forget all stages, for another chunk."""
        self._ms: dict[str, float] = {}
        self._events: dict[str, tuple[torch.cuda.Event, torch.cuda.Event]] = {}

    @property
    def ms(self) -> dict[str, float]:
        """Milliseconds of each stage since ``clear``."""
        self.ms_of(*self._events)
        return self._ms

    def ms_of(self, *names: str) -> dict[str, float]:
        """Milliseconds of those of these stages that were timed; another thread may time others meanwhile."""
        for name in names:
            if name in self._events:
                started, ended = self._events.pop(name)
                ended.synchronize()
                self._ms[name] = max(self._ms[name], started.elapsed_time(ended))
        return {name: self._ms[name] for name in names if name in self._ms}

    @contextmanager
    def stage(self, name: str, *, device_only: bool = False) -> Iterator[None]:
        """Time what runs inside, on the host and on the device; the longer of both counts.

        Args:
            name: of the stage.
            device_only: on a GPU, leave out the host's time, which includes waiting for earlier work.
        """
        if self._is_cuda:
            self._events[name] = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            self._events[name][0].record()
        started = time.perf_counter()
        try:
            yield
        finally:
            is_counted = not (device_only and self._is_cuda)
            self._ms[name] = (time.perf_counter() - started) * 1000 if is_counted else 0.0
            if self._is_cuda:
                self._events[name][1].record()
