"""What a machine does during a pass (kernels, waits, allocations), and its peak speed."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

# Operators that read a device's memory from the host, and the calls that wait for a device.
_WAITS = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaEventSynchronize",
)


@dataclass(frozen=True)
class PassProfile:
    """What one run of a function took.

    Attributes:
        ms: milliseconds of each of a few runs without the profiler.
        kernels: launched on the device; on a CPU, operators that call no other.
        slowest: on a GPU, name, calls and milliseconds of the kernels that took the most time in all.
        waits: times that the host waited for the device, or read what it had computed.
        largest_allocation_bytes: the most memory that one operator asked for.
    """

    ms: tuple[float, ...]
    kernels: int
    slowest: list[tuple[str, int, float]]
    waits: int
    largest_allocation_bytes: int


def profile_run(run: Callable[[], Any], device: torch.device) -> PassProfile:
    """Run a function a few times, then once under torch's profiler."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    ms = _timed(run, device)
    with profile(activities=activities, profile_memory=True) as recorded:
        run()
    events: list[FunctionEvent] = list(recorded.events())
    on_device = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    operators = [event for event in events if event.name.startswith("aten::") and not event.cpu_children]
    return PassProfile(
        ms=ms,
        kernels=len(on_device) if device.type == "cuda" else len(operators),
        slowest=_slowest(on_device),
        waits=sum(event.name in _WAITS for event in events),
        largest_allocation_bytes=max(
            (max(event.self_cpu_memory_usage, event.self_device_memory_usage) for event in operators),
            default=0,
        ),
    )


def _timed(
    run: Callable[[], Any], device: torch.device, *, tries: int = 10, enough_s: float = 2.0
) -> tuple[float, ...]:
    """Milliseconds of several runs after two that warm up; fewer where they take long."""
    times: list[float] = []
    for number in range(2 + tries):
        _wait(device)
        begun = time.perf_counter()
        run()
        _wait(device)
        if number >= 2:
            times.append((time.perf_counter() - begun) * 1000)
        if sum(times) > enough_s * 1000:
            break
    return tuple(times)


def _slowest(events: Sequence[FunctionEvent], number: int = 25) -> list[tuple[str, int, float]]:
    """Name, calls and milliseconds of the kernels that took the most time."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        times[event.name[:120]].append(event.time_range.elapsed_us() / 1000)
    rows = [(name, len(own), round(sum(own), 3)) for name, own in times.items()]
    return sorted(rows, key=lambda row: -row[2])[:number]


def matmul_ceiling(device: torch.device, dtype: torch.dtype, *, tries: int = 5) -> float:
    """TFLOP/s of a large matrix product on this device, which no pass can exceed."""
    size = 8192 if device.type == "cuda" else 512
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        _wait(device)
        begun = time.perf_counter()
        for _ in range(4):
            left @ right
        _wait(device)
        best = min(best, (time.perf_counter() - begun) / 4)
    return 2 * size**3 / best / 1e12


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
