"""The config files of a model's folder: writing, reading, digests, and errors by file and field."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from longlive import ModelBundle
from longlive.errors import CheckpointError
from longlive.weights.layout import WEIGHTS, ModelFolder, model_digest, public_fields, verify_digests
from longlive.weights.registry import find_model
from tests.support.hub_fixtures import FakeHub

TRANSFORMER = f"transformer/{WEIGHTS}"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_layout_is_that_of_diffusers(tiny_folder: Path) -> None:
    shape = json.loads((tiny_folder / "transformer/config.json").read_text())
    assert shape["_class_name"] == "CausalWanTransformer"
    assert shape["num_attention_heads"] == 2
    assert "prediction" not in shape, "diffusers has no such field; it stands in longlive.json"
    parts = json.loads((tiny_folder / "model_index.json").read_text())
    assert parts["vae"] == ["diffusers", "AutoencoderKLWan"]
    assert all((tiny_folder / part).is_dir() for part in parts if not part.startswith("_"))


def test_a_folder_is_read_without_its_weights(folder: Path, tiny_models: ModelBundle) -> None:
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    read = ModelFolder.read(folder, "my model")
    assert (read.name, read.path, read.config) == ("my model", folder, tiny_models.config)
    assert read.card == tiny_models.card and read.facts["fps"] == tiny_models.config.fps
    assert ModelFolder.read(folder).name == str(folder)


def test_the_digest_follows_weights_and_facts_but_not_card_and_sizes(
    folder: Path, tiny_models: ModelBundle
) -> None:
    def digest() -> str:
        return model_digest(ModelFolder.read(folder))

    assert digest() == tiny_models.digest
    change(folder / "longlive.json", card={"about": "Something else."})
    assert digest() == tiny_models.digest
    change(folder / "longlive.json", sizes=[[32, 48]])
    assert digest() == tiny_models.digest, "session files of before are still the model's"
    assert ModelFolder.read(folder).config.sizes == ((32, 48),)
    change(folder / "longlive.json", shift=4.0)
    changed = digest()
    assert changed != tiny_models.digest
    weights = load_file(folder / TRANSFORMER)
    weights["proj_out.bias"] += 1
    save_file(weights, folder / TRANSFORMER)
    assert digest() not in (changed, tiny_models.digest)


def test_a_recorded_digest_stands_for_the_file(folder: Path, tiny_models: ModelBundle) -> None:
    (folder / "sources.json").write_text(json.dumps({"written": {TRANSFORMER: "ab" * 32}}))
    recorded = model_digest(ModelFolder.read(folder))
    assert recorded != tiny_models.digest
    (folder / TRANSFORMER).write_bytes(b"not read")
    assert model_digest(ModelFolder.read(folder)) == recorded


def test_a_converted_file_that_changed_is_found_by_verifying(fake: FakeHub) -> None:
    folder = find_model("longlive-1.3b")
    verify_digests(folder)
    path = folder / TRANSFORMER
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"not what was written.*Delete .* and fetch"):
        verify_digests(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"its digest is nothing"):
        verify_digests(folder)


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("longlive.json", {"format": 9}, r"format is 9, but this version reads format 1.*Fetch"),
        (
            "longlive.json",
            {"height": 40},
            r"longlive.json: height is 40, but it must be a multiple of 16.*Try 32",
        ),
        ("longlive.json", {"height": "64"}, r"longlive.json: height is '64', but it must be a whole number"),
        ("longlive.json", {"steps": 4}, r"longlive.json: a field has a value of the wrong type"),
        ("longlive.json", {"colour": "red"}, r"longlive.json has the unknown fields colour"),
        ("longlive.json", {"prediction": "noise"}, r"prediction is 'noise', but it must be one of"),
        ("transformer/config.json", {"patch_size": [2, 2, 2]}, r"config.json: patch_size is \(2, 2, 2\)"),
        (
            "transformer/config.json",
            {"qk_norm": None},
            r"qk_norm is None, but it must be 'rms_norm_across_heads'",
        ),
        (
            "transformer/config.json",
            {"in_channels": 16},
            r"in_channels of the transformer is 16.*have 4 channels",
        ),
    ],
)
def test_a_config_that_does_not_fit_is_named_by_file_field_and_value(
    folder: Path, file: str, values: dict[str, Any], words: str
) -> None:
    change(folder / file, **values)
    with pytest.raises(CheckpointError, match=words):
        ModelFolder.read(folder)


def test_a_card_that_does_not_fit_is_named(folder: Path) -> None:
    change(folder / "longlive.json", card={"words": 3})
    with pytest.raises(CheckpointError, match=r"The card in longlive.json"):
        _ = ModelFolder.read(folder).card


def test_a_missing_field_is_named(folder: Path) -> None:
    facts = json.loads((folder / "longlive.json").read_text())
    del facts["height"]
    (folder / "longlive.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"longlive.json lacks the fields height"):
        ModelFolder.read(folder)


@pytest.mark.parametrize(
    ("file", "spoil", "words"),
    [
        ("longlive.json", Path.unlink, "longlive.json is missing"),
        ("longlive.json", lambda path: path.write_text('{"format"'), "longlive.json cannot be read"),
        ("longlive.json", lambda path: path.write_text("[]"), "longlive.json holds a list"),
        ("vae/config.json", Path.unlink, "config.json is missing"),
    ],
)
def test_a_missing_or_broken_file_is_named(
    folder: Path, file: str, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(folder / file)
    with pytest.raises(CheckpointError, match=words):
        ModelFolder.read(folder)


def test_private_fields_of_a_diffusers_config_are_left_out() -> None:
    assert public_fields({"_class_name": "A", "_name_or_path": "/here", "dim": 3}) == {"dim": 3}
