"""Files of weights, memory-mapped when read and written tensor by tensor.

A tensor of an opened file takes no memory of its own until something is computed from it, so that a model
of any size can be converted in the memory of its largest tensor.
"""

import argparse
import collections
import hashlib
import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.weight_parts import parts_of

SAFE_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
READ = 8 * 2**20
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
# What trainers put beside the weights and what runs no code when it is read: options and numbers of NumPy.
HARMLESS: list[Any] = [
    argparse.Namespace,
    collections.defaultdict,
    *(dict, list, set, int, float),
    np.dtype,
    *((_NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
]


def open_weights(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: tensors by name, in the nesting of the file; nothing is executed.

    Args:
        path: safetensors or of ``torch.save``; a file, its parts, their index or their folder (``parts_of``).

    Raises:
        CheckpointError: when it is missing, broken, or holds more than tensors.
    """
    parts = parts_of(path)
    if all(is_safetensors(part) for part in parts):
        return dict(open_safetensors(path))
    return {name: value for part in parts for name, value in _open_torch(part).items()}


def dicts_of_tensors(found: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dict that holds tensors in a checkpoint: its path (``generator.``; empty at the top); them."""
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from dicts_of_tensors(value, f"{path}{name}.")


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors: by how it begins, whatever its suffix; by its suffix if it is broken."""
    named_so = path.suffix.lower() == ".safetensors"
    if not path.is_file():
        return named_so
    with path.open("rb") as file:
        beginning = file.read(9)
    if beginning[:2] == b"PK":  # a zip archive, as torch.save writes
        return False
    header = int.from_bytes(beginning[:8], "little")
    return named_so or (beginning[8:] == b"{" and header < path.stat().st_size)


def _open_torch(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".safetensors" and path.is_file():
        raise CheckpointError(
            f"{path} is a file of torch.save, not safetensors. Rename it so that it ends in .pt."
        )
    try:
        return _torch_load(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. Fetch the model again, or correct the path.") from error
    except pickle.UnpicklingError as error:
        # PyTorch's own message advises to load the file without this protection.
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        fault = f"holds more than tensors, which could run code: {found[1]}" if found else _fault_of(path)
        raise CheckpointError(
            f"{path} {fault}. Use a checkpoint of weights alone, or fetch it again."
        ) from error
    except (RuntimeError, OSError, EOFError) as error:
        raise CheckpointError(f"{path} {_fault_of(path)}. Fetch it again.") from error


def _fault_of(path: Path) -> str:
    """What is wrong with a file that is no checkpoint, by how it begins."""
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        return "is empty"
    if start.startswith(b"<"):
        return "is a web page, not a checkpoint"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the checkpoint itself"
    if start.startswith(b"PK"):
        return "is broken, or was cut off"
    return "is no checkpoint that can be read"


def open_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the parts that an index beside it names, memory-mapped."""
    weights: dict[str, Tensor] = {}
    for file in parts_of(path):
        try:
            with safe_open(file, framework="pt") as opened:
                weights |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise CheckpointError(f"{file} is missing. Fetch the model again.") from error
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is broken: {error}. Fetch the model again.") from error
    return weights


def read_tensors(path: Path, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, memory-mapped, out of whatever dicts they are nested in.

    Args:
        path: as for ``open_weights``.
        keys: of the dicts to look into, the first that is there at each level.

    Raises:
        CheckpointError: when it cannot be read, or has neither tensors nor one of ``keys``.
    """
    found = open_weights(path)
    while not any(isinstance(value, Tensor) for value in found.values()):
        key = next((key for key in keys if isinstance(found.get(key), Mapping)), None)
        if key is None:
            raise CheckpointError(
                f"{path} holds {', '.join(map(repr, list(found)[:5])) or 'nothing'}, but weights, or one of "
                f"{', '.join(keys)}, are expected. Is it a checkpoint of this family?"
            )
        found = found[key]
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for other files. Errors as for ``open_weights``."""
    file = parts_of(path)[0]
    if not is_safetensors(file):
        return {}
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing. Fetch the model again.") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is broken: {error}. Fetch the model again.") from error


def check_finite(tensor: Tensor, name: str) -> None:
    """Raise CheckpointError if a tensor holds NaN or infinity; ``name`` says which, of what file."""
    numbers = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # of 8 bits
    # The extremes are NaN if any number is, and need no second tensor of this size, as isfinite does.
    if numbers.numel() and not all(end.isfinite() for end in numbers.aminmax()):
        count = int((~numbers.isfinite()).sum())
        raise CheckpointError(
            f"{name}: {count:,} of {tensor.numel():,} numbers are NaN or infinite ({tensor.dtype}), which "
            "makes black pictures. The file is damaged, or was made so: fetch it again, or give another."
        )


def write_weights(
    path: Path,
    like: Mapping[str, Tensor],
    dtype: torch.dtype,
    make: Callable[[str], Tensor],
    source: Path,
) -> str:
    """Write a safetensors file, one tensor in memory at a time.

    Args:
        path: overwritten.
        like: tensors of the shapes to be written, by name.
        dtype: of all that is written.
        make: gives the tensor of a name; it is turned into ``dtype`` here.
        source: what the tensors come from, for errors.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        CheckpointError: if a tensor holds NaN or infinity.
    """
    entries, end = {}, 0
    for name, tensor in like.items():
        begin, end = end, end + tensor.numel() * dtype.itemsize
        entries[name] = {
            "dtype": SAFE_DTYPES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    header = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
    header += b" " * (-len(header) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(header).to_bytes(8, "little"), header):
            digest.update(part)
            file.write(part)
        for name in like:
            tensor = make(name).to(dtype)
            check_finite(tensor, f"{source}, {name}")
            data = _bytes_of(tensor)
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _torch_load(path: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals(HARMLESS):
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            found = torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, but a dict of tensors is expected.")
    return found


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data
