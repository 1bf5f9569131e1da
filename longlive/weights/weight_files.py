"""Files of weights, memory-mapped when read and written tensor by tensor.

A tensor of an opened file takes no memory of its own until something is computed from it, so that a model
of any size can be converted in the memory of its largest tensor.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longlive.errors import CheckpointError

SAFE_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
READ = 8 * 2**20


def open_weights(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: tensors by name, in the nesting of the file; nothing is executed.

    Args:
        path: ``.safetensors`` (alone, or in parts with an ``.index.json`` beside it), or of ``torch.save``.

    Raises:
        CheckpointError: when it is missing, broken, or holds more than tensors.
    """
    if path.suffix == ".safetensors" or _index(path).is_file():
        return dict(open_safetensors(path))
    try:
        return _torch_load(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. Fetch the model again, or correct the path.") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} cannot be read, or holds more than tensors, which could run code: {error}. Use a "
            "checkpoint of weights alone."
        ) from error
    except (RuntimeError, OSError, EOFError) as error:
        raise CheckpointError(f"{path} is broken: {error}. Fetch it again.") from error


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


def parts_of(path: Path) -> list[Path]:
    """The files that hold the weights of ``path``: itself, or the parts that an index beside it names."""
    if not _index(path).is_file():
        return [path]
    try:
        parts = set(json.loads(_index(path).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{_index(path)} cannot be read: {error!r}. Fetch the model again.") from error
    return [path.with_name(part) for part in sorted(parts)]


def write_weights(
    path: Path,
    like: Mapping[str, Tensor],
    dtype: torch.dtype,
    make: Callable[[str], Tensor],
) -> str:
    """Write a safetensors file, one tensor in memory at a time.

    Args:
        path: overwritten.
        like: tensors of the shapes to be written, by name.
        dtype: of all that is written.
        make: gives the tensor of a name; it is turned into ``dtype`` here.

    Returns:
        SHA-256 of the file, in hex.
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
            data = _bytes_of(make(name).to(dtype))
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _index(path: Path) -> Path:
    return path.with_name(path.name + ".index.json")


def _torch_load(path: Path) -> dict[str, Any]:
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
