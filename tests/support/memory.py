"""Where tensors lie in this process's memory."""

from pathlib import Path

from torch import Tensor


def mapped_file(tensor: Tensor) -> Path | None:
    """The file that a tensor's memory is a map of; None when it has memory of its own. Linux only."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        begin, end = (int(part, 16) for part in fields[0].split("-"))
        if begin <= address < end:
            return Path(fields[5]) if len(fields) > 5 and fields[5].startswith("/") else None
    return None
