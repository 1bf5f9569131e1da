"""``pip install .`` gives the command ``longlive`` and a package that needs nothing of the checkout."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.paths import ROOT

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The command's standard output; its errors are shown when it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def files_under(folder: Path) -> set[str]:
    """Every file there, relative to the checkout, without what Python and Gradio generate."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".pyi")]
    return {str(path.relative_to(ROOT)) for path in paths}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("longlive-*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package, and its command in ``bin``."""
    target = tmp_path_factory.mktemp("installed")
    run(*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", target, wheel, cwd=target)
    return target


def test_the_wheel_holds_the_whole_package_and_the_embedded_model(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assets = files_under(ROOT / "assets/storybook") | {"assets/prompts/grammar.toml"}
    assert names == files_under(ROOT / "longlive") | {f"longlive/{name}" for name in assets}


def test_the_wheel_requires_what_requirements_txt_names(installed: Path) -> None:
    (found,) = metadata.distributions(name="longlive", path=[str(installed)])
    required = {Requirement(line) for line in found.requires or [] if "extra ==" not in line}
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    assert required == {Requirement(line) for line in lines if line}
    assert "dependencies" not in PYPROJECT["project"], "they are named once, in requirements.txt"


def test_the_sdist_holds_all_that_a_wheel_is_built_from(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("longlive-*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names >= {"pyproject.toml", "requirements.txt", "README.md", "LICENSE", "app.py"}
    assert names >= files_under(ROOT / "longlive") | files_under(ROOT / "assets")
    assert not [name for name in names if name.startswith(("runs/", "shared/", ".venv/"))]


@pytest.mark.slow
def test_the_installed_package_works_anywhere(installed: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    folder = run(installed / "bin/longlive", "fetch", "storybook", cwd=tmp_path, **environment)
    assert folder.strip() == str(installed / "longlive/assets/storybook")

    arguments = ["--prompt", "a red ball stands on a green meadow", "--seconds", "1", "--out", "ball.mp4"]
    run(sys.executable, "-m", "longlive", "generate", *arguments, cwd=tmp_path, **environment)
    assert (tmp_path / "ball.mp4").stat().st_size > 1000
