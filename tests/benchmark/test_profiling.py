"""The profiler counts what a function does."""

import torch

from longlive.benchmark.profiling import matmul_ceiling, profile_run

CPU = torch.device("cpu")


def test_waits_kernels_and_allocations_are_counted() -> None:
    x = torch.ones(1000)
    found = profile_run(lambda: (x + x).sum().item(), CPU)
    assert found.waits == 1
    assert found.kernels >= 3
    assert found.largest_allocation_bytes == 4000


def test_the_peak_speed_is_a_positive_number_of_tflops() -> None:
    assert 1e-4 < matmul_ceiling(CPU, torch.float32, tries=1) < 1e4
