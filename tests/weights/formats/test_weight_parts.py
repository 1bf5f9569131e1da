"""Which files hold the weights of a path, and what is said where they do not."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.weight_files import open_weights
from longlive.weights.formats.weight_parts import parts_of

STATE = {"a": torch.ones(2), "b": torch.zeros(3), "c": torch.ones(1)}


def write_shards(folder: Path, suffix: str, *, stem: str = "model", index: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for number, (name, tensor) in enumerate(STATE.items(), 1):
        places[name] = f"{stem}-{number:05d}-of-00003.{suffix}"
        part: dict[str, Tensor] = {name: tensor}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / places[name])  # type: ignore[operator]
    if index is not None:
        (folder / index).write_text(json.dumps({"weight_map": places}))


def touch(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("suffix", "index"),
    [
        ("safetensors", "model.safetensors.index.json"),
        ("safetensors", "model.safetensors.index.fp16.json"),
        ("safetensors", None),
        ("bin", "model.bin.index.json"),
        ("pt", None),
    ],
)
def test_shards_are_read_by_their_index_their_folder_or_any_one_of_them(
    suffix: str, index: str | None, tmp_path: Path
) -> None:
    write_shards(tmp_path, suffix, index=index)
    given = [tmp_path, tmp_path / f"model-00002-of-00003.{suffix}"]
    given += [] if index is None else [tmp_path / index]
    for path in given:
        read = open_weights(path)
        assert read.keys() == STATE.keys()
        assert all(torch.equal(read[name], tensor) for name, tensor in STATE.items())


def test_a_models_folder_stands_for_its_transformer(tmp_path: Path) -> None:
    write_shards(tmp_path / "transformer", "safetensors", index="w.safetensors.index.json")
    touch(tmp_path, ["model_index.json"])
    assert open_weights(tmp_path).keys() == STATE.keys()


def test_a_folder_with_one_file_stands_for_it(tmp_path: Path) -> None:
    touch(tmp_path, ["adapter_config.json", "README.md", "adapter_model.safetensors"])
    assert parts_of(tmp_path) == [tmp_path / "adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (["a-1-of-3.pt", "a-3-of-3.pt"], "a-1-of-3.pt", "a-2-of-3.pt is missing beside it. Fetch all parts"),
        (["a.pt", "b.pt"], "", r"holds several files of weights: a.pt, b.pt. Give one"),
        (["a.txt"], "", "holds no weights: no file in it ends in .safetensors"),
        (["a.gguf"], "a.gguf", "is not read: it is GGUF.*Give the safetensors file"),
        (["a.onnx"], "a.onnx", "ONNX"),
        ([".metadata", "__0_0.distcp"], "", "torch.distributed.checkpoint.*dcp_to_torch_save"),
        (["__0_0.distcp"], "__0_0.distcp", "dcp_to_torch_save"),
        (["global_step3/zero_pp_rank_0_mp_rank_00_optim_states.pt", "latest"], "", "Run the zero_to_fp32.py"),
        ([], "a.safetensors.index.json", "a.safetensors.index.json is missing"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(
    files: list[str], given: str, message: str, tmp_path: Path
) -> None:
    touch(tmp_path, files)
    with pytest.raises(CheckpointError, match=message):
        parts_of(tmp_path / given)


@pytest.mark.parametrize("name", ["gone.safetensors", "../gone.safetensors", 3])
def test_an_index_that_names_no_file_beside_it_is_refused(name: object, tmp_path: Path) -> None:
    index = tmp_path / "w.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match=r"is missing beside it|cannot be read"):
        parts_of(index)


@pytest.mark.parametrize("suffix", ["bin", "pt", "ckpt", "SAFETENSORS"])
def test_safetensors_are_known_by_their_content(suffix: str, tmp_path: Path) -> None:
    save_file(STATE, tmp_path / f"w.{suffix}")
    assert open_weights(tmp_path / f"w.{suffix}").keys() == STATE.keys()


def test_a_file_of_torch_under_the_name_of_safetensors_is_named_as_such(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"is a file of torch.save, not safetensors. Rename it"):
        open_weights(tmp_path / "w.safetensors")


def test_an_index_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    write_shards(tmp_path, "safetensors", index="w.safetensors.index.json")
    index = tmp_path / "w.safetensors.index.json"
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes())
    assert open_weights(index).keys() == STATE.keys()
