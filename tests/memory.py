"""Where tensors lie in this process's memory."""

from pathlib import Path

from torch import Tensor


def mapped_file(tensor: Tensor) -> Path | None:
    """The file that a tensor's memory is a map of; None when it has memory of its own. Linux only."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5) if line.count(" ") > 5 else (line.split()[0], "")
        begin, end = (int(part, 16) for part in span.split("-"))
        if begin <= address < end:
            return Path(name) if name.startswith("/") else None
    return None
