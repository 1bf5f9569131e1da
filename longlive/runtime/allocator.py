"""Settings of torch and of the C library's allocator for a process that computes on the CPU."""

import ctypes
import os

KEPT_BYTES = 2**30
LARGEST_KEPT_BYTES = 2**25
"""Larger blocks go back to the system at once; the highest threshold that every glibc allows."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def configure_cpu(threads: int) -> None:
    """Compute with so many threads, and keep freed memory for the feature maps of the next chunk.

    glibc gives freed memory back to the system and asks for it again a moment later, cleared: 800 to 1,600
    page faults a picture with several streams on two cores. Without them a picture took 6 to 22 % less
    processor time (measured in turns on a virtual machine, whose speed varied as much).
    Does nothing where glibc's own variables are set, and with other C libraries.
    """
    import torch  # the command line prints its options without it

    torch.set_num_threads(threads)
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is not None and not any(name in os.environ for name in _USER_SETTINGS):
        mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def has_fast_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; False where torch cannot tell (before 2.13).

    Also False where torch is held to older instructions (``ATEN_CPU_CAPABILITY``): on a CPU with AMX, its
    attention in bfloat16 fails then.
    """
    import torch

    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16"))


def trim_heap() -> None:
    """Give free memory back to the system, once."""
    trim = getattr(_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _library() -> ctypes.CDLL | None:
    """The C library of this process; None where it has no such name (Windows)."""
    return ctypes.CDLL(None) if os.name == "posix" else None
