"""Which files hold the weights of a path: one file, the parts that an index names, or a folder of either.

Formats that are not read are refused here, before anything is opened, each with what to do.
"""

import json
import re
from pathlib import Path

from longlive.errors import CheckpointError, reason_of
from longlive.files import read_text

INDEX = re.compile(r"\.index(\.\w+)?\.json$")
PART = re.compile(r"-(\d+)-of-(\d+)(?=\.\w+$)")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_NOT_READ = {
    ".gguf": "GGUF (weights in few bits, for ComfyUI). Give the safetensors file in bf16 or fp16",
    ".onnx": "ONNX. Give the safetensors or .pt file that it was exported from",
    ".distcp": (
        "a part of torch.distributed.checkpoint. Write one file with "
        "torch.distributed.checkpoint.format_utils.dcp_to_torch_save, and give that"
    ),
    ".npz": "NumPy's or JAX's arrays. Give a safetensors or .pt file",
    ".msgpack": "Flax weights. Give a safetensors or .pt file",
    ".h5": "Keras weights. Give a safetensors or .pt file",
    ".zip": "an archive. Unpack it, and give the file of weights in it",
}


def parts_of(path: Path) -> list[Path]:
    """The files that hold the weights of ``path``.

    Args:
        path: a file of weights; one of its parts (``…-00001-of-00002.safetensors``), which stands for all; an
            index of parts, or the file beside which it lies; a folder that holds one of these.

    Raises:
        CheckpointError: when parts are missing, an index cannot be read, a folder holds no weights or several
            files of them, or the format is not read; says what to do.
    """
    if path.is_dir():
        return parts_of(_file_in(path))
    if INDEX.search(path.name):
        return _indexed(path)
    index = path.with_name(f"{path.name}.index.json")
    if index.is_file():
        return _indexed(index)
    if path.suffix.lower() in _NOT_READ:
        raise CheckpointError(f"{path} is not read: it is {_NOT_READ[path.suffix.lower()]}.")
    return _all_parts(path) if PART.search(path.name) else [path]


def _indexed(index: Path) -> list[Path]:
    try:
        names = set(json.loads(read_text(index))["weight_map"].values())
        parts = [index.with_name(name) for name in sorted(names)]
    except FileNotFoundError as error:
        raise CheckpointError(f"{index} is missing. Fetch the model again, or correct the path.") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} cannot be read: {reason_of(error)}. Fetch the model again."
        ) from error
    return _check_there(parts, index)


def _all_parts(path: Path) -> list[Path]:
    """All parts of a checkpoint of which one is given."""
    count = PART.search(path.name)
    assert count is not None
    names = (f"-{number:0{len(count[1])}}-of-{count[2]}" for number in range(1, int(count[2]) + 1))
    return _check_there([path.with_name(PART.sub(name, path.name)) for name in names], path)


def _check_there(parts: list[Path], of: Path) -> list[Path]:
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise CheckpointError(
            f"{of} is one of {len(parts)} parts or names them, but {', '.join(missing[:5])} is missing "
            "beside it. Fetch all parts into one folder."
        )
    return parts


def _file_in(folder: Path) -> Path:
    """The one checkpoint in a folder, by its index or its file."""
    _check_folder(folder)
    indices = sorted(file for file in folder.iterdir() if INDEX.search(file.name))
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    found = indices or _one_of_each(files)
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:5])
        raise CheckpointError(f"{folder} holds several files of weights: {names}. Give one of them.")
    if found:
        return found[0]
    if (folder / "transformer").is_dir():
        return folder / "transformer"
    raise CheckpointError(
        f"{folder} holds no weights: no file in it ends in {', '.join(SUFFIXES)}. Give a file, or its folder."
    )


def _one_of_each(files: list[Path]) -> list[Path]:
    """The files of a folder, with one part for all parts of the same checkpoint."""
    return list({PART.sub("", file.name): file for file in files}.values())


def _check_folder(folder: Path) -> None:
    """Refuse folders of formats that are written as many files."""
    if any(folder.glob("*.distcp")):
        raise CheckpointError(f"{folder} is not read: it holds {_NOT_READ['.distcp']}.")
    if any(folder.glob("**/zero_pp_rank_*")) or any(folder.glob("**/*_optim_states.pt")):
        raise CheckpointError(
            f"{folder} is not read: it is a checkpoint of DeepSpeed ZeRO. Run the zero_to_fp32.py in it, and "
            "give the file that it writes."
        )
