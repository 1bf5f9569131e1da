"""``FILE[=STRENGTH]`` as people type it."""

from pathlib import Path

import pytest

from longlive.errors import CheckpointError, ConfigError
from longlive.weights.formats.lora_files import LoraFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "style.safetensors").touch()
    (tmp_path / "cfg=2.safetensors").touch()
    return tmp_path / "style.safetensors"


def test_a_strength_follows_the_last_equals_sign(file: Path) -> None:
    assert LoraFile.parse(str(file)) == LoraFile(file, 1.0)
    assert LoraFile.parse(f"{file}=0.8") == LoraFile(file, 0.8)
    assert LoraFile.parse(f"{file}=-1.5") == LoraFile(file, -1.5)
    odd = file.with_name("cfg=2.safetensors")
    assert LoraFile.parse(str(odd)) == LoraFile(odd)
    assert LoraFile.parse(f"{odd}=2") == LoraFile(odd, 2.0)
    assert (str(LoraFile(file)), str(LoraFile(file, 0.8))) == (file.name, f"{file.name} at 0.8")


@pytest.mark.parametrize("strength", ["x", "", "nan", "inf", "-inf", "1e999", "0,8"])
def test_a_strength_that_is_no_number_is_refused(file: Path, strength: str) -> None:
    with pytest.raises(ConfigError, match=rf"--lora is .*={strength}', but .* is no number. Try FILE=0.8"):
        LoraFile.parse(f"{file}={strength}")


@pytest.mark.parametrize("strength", ["0", "0.0", "-0"])
def test_a_strength_of_nothing_is_refused(file: Path, strength: str) -> None:
    with pytest.raises(ConfigError, match="a strength of 0 changes nothing"):
        LoraFile.parse(f"{file}={strength}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for text in ("gone.pt", "gone.pt=0.5"):
        with pytest.raises(CheckpointError, match=r"There is no file gone.pt. Correct the path"):
            LoraFile.parse(text)
