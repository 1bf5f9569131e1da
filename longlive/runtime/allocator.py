"""What a process that computes on the CPU asks of torch and of the C library."""

import ctypes
import os

KEPT_BYTES = 2**30
LARGEST_KEPT_BYTES = 2**25
"""What is larger goes back to the system at once: the most that every glibc allows."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_OWN_WORD = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def configure_cpu(threads: int) -> None:
    """Compute with so many threads, and keep what feature maps leave free for those of the next chunk.

    glibc gives freed memory back to the system and asks for it again a moment later, cleared: 800 to 1,600
    page faults a picture with several stories on two cores. Without them a picture took 6 to 22 % less time
    of the processor (measured in turns on a virtual machine, whose speed wandered as much).
    Whoever has set glibc's own variables is left alone, and so are other C libraries.
    """
    import torch  # the command line names its options without it

    torch.set_num_threads(threads)
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is not None and not any(name in os.environ for name in _OWN_WORD):
        mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def trim_heap() -> None:
    """Let the system have what is free, for once."""
    trim = getattr(_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _library() -> ctypes.CDLL | None:
    """The C library of this process; None where it has no such name (Windows)."""
    return ctypes.CDLL(None) if os.name == "posix" else None
