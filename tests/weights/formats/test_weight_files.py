import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.weight_files import (
    open_safetensors,
    open_weights,
    parts_of,
    sha256_of,
    write_weights,
)
from tests.support.memory import mapped_file


def weights() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (3, 5), "b": (7,), "one": (), "empty": (0, 2)}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_written_is_what_safetensors_reads(tmp_path: Path, dtype: torch.dtype) -> None:
    path, state = tmp_path / "w.safetensors", weights()
    digest = write_weights(path, state, dtype, state.__getitem__, path)
    read = load_file(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor.to(dtype)) for name, tensor in state.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert digest == sha256_of(path)
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0, "tensors begin at a multiple of 8 bytes"


def test_a_tensor_that_is_no_stretch_of_memory_is_written_in_its_order(tmp_path: Path) -> None:
    state = {"t": torch.arange(6.0).view(2, 3).t()}
    write_weights(tmp_path / "w.safetensors", state, torch.float32, state.__getitem__, tmp_path)
    assert torch.equal(load_file(tmp_path / "w.safetensors")["t"], state["t"])


def test_tensors_are_asked_for_one_by_one(tmp_path: Path) -> None:
    made: list[str] = []

    def make(name: str) -> Tensor:
        made.append(name)
        return weights()[name]

    write_weights(tmp_path / "w.safetensors", weights(), torch.float32, make, tmp_path)
    assert made == list(weights())


def test_parts_with_an_index_are_joined(tmp_path: Path) -> None:
    state, path = weights(), tmp_path / "w.safetensors"
    names = {"a.weight": "w-1.safetensors", "b": "w-2.safetensors"}
    for name, part in names.items():
        save_file({name: state[name]}, tmp_path / part)
    (tmp_path / "w.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert parts_of(path) == [tmp_path / "w-1.safetensors", tmp_path / "w-2.safetensors"]
    assert open_weights(path).keys() == names.keys()
    (tmp_path / "w.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"index.json cannot be read.*Fetch"):
        open_safetensors(path)


def test_a_safetensors_file_is_opened_without_reading_it(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "w.safetensors")
    assert mapped_file(open_weights(tmp_path / "w.safetensors")["b"]) == tmp_path / "w.safetensors"


def test_a_file_of_torch_is_opened_without_reading_it(tmp_path: Path) -> None:
    torch.save({"generator": {"w": torch.ones(1000)}}, tmp_path / "w.pt")
    tensor = open_weights(tmp_path / "w.pt")["generator"]["w"]
    assert torch.equal(tensor, torch.ones(1000))
    assert mapped_file(tensor) == tmp_path / "w.pt"


def test_a_file_of_torch_before_1_6_is_read_too(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(open_weights(tmp_path / "w.pth")["w"], torch.ones(3))


class Code:
    """What a hostile checkpoint would hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"w": Code()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="holds more than tensors, which could run code"):
        open_weights(tmp_path / "w.pt")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    with pytest.raises(CheckpointError, match=rf"w.{suffix} is missing"):
        open_weights(path)
    if suffix == "safetensors":
        save_file(weights(), path)
    else:
        torch.save(weights(), path)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(CheckpointError, match=rf"w.{suffix} (is broken|cannot be read)"):
        open_weights(path)


def test_something_else_than_a_dict_is_told(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="holds a list, but a dict of tensors is expected"):
        open_weights(tmp_path / "w.pt")
