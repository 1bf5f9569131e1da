"""What a machine does during a pass (kernels, waits, allocations), and its peak speed."""

import time
from collections.abc import Callable
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
        kernels: launched on the device; on a CPU, operators that call no other.
        waits: times that the host waited for the device, or read what it had computed.
        largest_allocation_bytes: the most memory that one operator asked for.
    """

    kernels: int
    waits: int
    largest_allocation_bytes: int


def profile_run(run: Callable[[], Any], device: torch.device) -> PassProfile:
    """Run a function under torch's profiler; it should have run before, so that everything is warm."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    _wait(device)
    with profile(activities=activities, profile_memory=True) as recorded:
        run()
    events: list[FunctionEvent] = list(recorded.events())
    on_device = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    operators = [event for event in events if event.name.startswith("aten::") and not event.cpu_children]
    return PassProfile(
        kernels=len(on_device) if device.type == "cuda" else len(operators),
        waits=sum(event.name in _WAITS for event in events),
        largest_allocation_bytes=max(
            (max(event.self_cpu_memory_usage, event.self_device_memory_usage) for event in operators),
            default=0,
        ),
    )


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
