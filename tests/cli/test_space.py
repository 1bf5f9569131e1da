"""``space``: the folder for each kind of hardware, and the commands; .ci/space builds and starts them."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import SpaceHardware
from packaging.requirements import Requirement

from longlive.cli import main, space
from tests.support.paths import ROOT

KINDS = tuple(space.HARDWARE)
QUIET = os.environ | {"HF_HUB_OFFLINE": "1"}


def written(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """What ``space`` says of the folder that it wrote."""
    capsys.readouterr()
    assert main(["space", str(folder), *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def requirements(folder: Path) -> dict[str, Requirement]:
    lines = (folder / "requirements.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("-")]
    return {one.name: one for one in found}


def matter(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


@pytest.mark.parametrize("hardware", KINDS)
def test_a_folder_holds_what_a_space_needs(
    hardware: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "space"
    found = written(folder, capsys, "--hardware", hardware)
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "longlive").rglob("*") if path.is_file()}
    code = {name for name in code if "__pycache__" not in name and not name.endswith((".pyc", ".pyi"))}
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files >= code | {"app.py", "LICENSE", "README.md", "requirements.txt"}
    assert {"assets/storybook/longlive.json", "assets/prompts/grammar.toml"} <= files
    assert not {name for name in files if name.startswith(("tests", ".")) or name.endswith(".pyc")}
    assert found["variables"] == {"GRADIO_SSR_MODE": "false"}
    facts = matter(folder)
    assert facts["sdk"] == "gradio" and (folder / facts["app_file"]).is_file()
    assert facts["suggested_hardware"] == hardware and hardware in [one.value for one in SpaceHardware]
    assert "hardware" not in facts and not {"models", "preload_from_hub"} & set(facts)


@pytest.mark.parametrize("hardware", KINDS)
def test_the_requirements_leave_to_the_platform_what_it_manages(
    hardware: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "space", capsys, "--hardware", hardware)
    found = requirements(tmp_path / "space")
    assert not {"gradio", "gradio-client", "spaces", "huggingface-hub", "pydantic", "starlette"} & set(found)
    assert {"torch", "diffusers", "transformers", "av"} <= set(found)
    assert bool(found["torch"].specifier) == (hardware != "zero-a10g"), "ZeroGPU has a torch of its own"
    is_without_cuda = space.CPU_BUILD in (tmp_path / "space/requirements.txt").read_text()
    assert is_without_cuda == (hardware == "cpu-basic")


def test_what_is_left_out_is_named_as_requirements_txt_names_it() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = {Requirement(line.split("#")[0]).name for line in lines if line.split("#")[0].strip()}
    assert names >= space.PLATFORM | space.FROM_GRADIO | space.NOT_SERVED


def test_a_repository_of_weights_is_loaded_while_the_space_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--hardware", "l40sx1", "--model", "you/longlive-1.3b", "--space", "you/live"]
    found = written(tmp_path / "space", capsys, *options)
    facts = matter(tmp_path / "space")
    assert facts["models"] == facts["preload_from_hub"] == ["you/longlive-1.3b"]
    assert found["variables"]["LONGLIVE_MODEL"] == "you/longlive-1.3b"
    commands = found["commands"]
    assert commands[1].startswith("hf upload you/longlive-1.3b ")
    assert "--flavor l40sx1 -e GRADIO_SSR_MODE=false -e LONGLIVE_MODEL=you/longlive-1.3b" in commands[2]
    assert commands[3] == f"hf upload you/live {tmp_path / 'space'} . --type space"


def test_every_command_exists_with_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--hardware", "zero-a10g", "--model", "you/model"]
    for line in written(tmp_path / "space", capsys, *options)["commands"]:
        words = line.split()
        count = 3 if words[1] in ("spaces", "repos", "auth") else 2
        asked = subprocess.run([*words[:count], "--help"], capture_output=True, text=True, env=QUIET)
        assert asked.returncode == 0, line
        known = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", asked.stdout))
        assert {word for word in words[count:] if re.match(r"--?[a-z]", word)} <= known


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "longlive-1.3b"], "fetched and converted at every start.*python -m longlive fetch"),
        (["--model", "/tmp"], "finds models only in itself"),
        (["--space", "longlive"], "it must be OWNER/NAME"),
    ],
)
def test_what_a_space_could_not_serve_is_refused(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["space", str(tmp_path / "space"), "--hardware", "cpu-basic", *options]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "space").exists()


def test_a_folder_that_holds_something_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["space", str(tmp_path), "--hardware", "cpu-basic"]) == 2
    assert "this folder holds files, which are kept" in capsys.readouterr().err
    assert main(["space", str(tmp_path / "mine.txt" / "x"), "--hardware", "cpu-basic"]) == 2
    assert "no folder can be made there" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
