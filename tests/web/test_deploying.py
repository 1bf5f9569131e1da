"""Front matter, requirements and environment agree with the app."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from huggingface_hub import SpaceHardware
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import app
from longlive.cli.space import COPIED, HARDWARE, front_matter
from tests.support.fakes import serve_page
from tests.support.paths import ROOT
from tests.support.space_environments import SPACE, ZERO_TORCH

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEPLOYING = (ROOT / "longlive/serving/DEPLOYING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FRONT_MATTER = yaml.safe_load(README.split("---\n")[1])
# What `space` puts in its place, by hardware, and with weights in a repository.
VARIANTS = {
    f"{hardware} {weights}": yaml.safe_load(front_matter(README, hardware, weights).split("---\n")[1])
    for hardware in HARDWARE
    for weights in (None, "you/longlive-1.3b")
}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
KEYS = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file"}
KEYS |= {"suggested_hardware", "license", "short_description", "tags", "pinned", "models"}
KEYS |= {"preload_from_hub", "startup_duration_timeout"}


def requirements(path: str) -> dict[str, Requirement]:
    lines = (ROOT / path).read_text().splitlines()
    found = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    assert len({one.name for one in found}) == len(found), "a package stands there twice"
    return {one.name: one for one in found}


NEEDED, FOR_TESTS = requirements("requirements.txt"), requirements("tests/requirements.txt")


@pytest.mark.parametrize("matter", [FRONT_MATTER, *VARIANTS.values()], ids=["as is", *VARIANTS])
def test_the_front_matter_is_one_that_spaces_understands(matter: dict[str, Any]) -> None:
    assert set(matter) <= KEYS
    assert matter["sdk"] == "gradio" and (ROOT / matter["app_file"]).is_file()
    assert matter["suggested_hardware"] in [hardware.value for hardware in SpaceHardware]
    assert {matter["colorFrom"], matter["colorTo"]} <= COLOURS
    assert len(matter["short_description"]) <= 60
    assert matter["license"].lower() == PROJECT["license"].lower()
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+( \S+)?", one) for one in matter.get("preload_from_hub", []))
    assert set(matter.get("models", [])) >= {one.split()[0] for one in matter.get("preload_from_hub", [])}


def test_spaces_installs_the_gradio_and_the_python_that_are_required() -> None:
    assert NEEDED["gradio"].specifier.contains(FRONT_MATTER["sdk_version"])
    assert isinstance(FRONT_MATTER["python_version"], str), "3.10 without quotes is 3.1"
    assert SpecifierSet(PROJECT["requires-python"]).contains(FRONT_MATTER["python_version"])


def test_the_torch_of_a_zero_gpu_space_is_one_that_is_required() -> None:
    """Those that it has, by its own page (hub-docs, spaces-zerogpu)."""
    assert ZERO_TORCH == "2.11.0"
    assert all(NEEDED["torch"].specifier.contains(one) for one in ("2.8.0", "2.9.1", "2.10.0", ZERO_TORCH))


def test_every_import_is_required_and_everything_required_is_imported() -> None:
    packages, imported = packages_distributions(), set()
    elsewhere = {*ROOT.glob("longlive/benchmark/systems/checkouts/*.py")}  # run by other programs' Python
    elsewhere |= {ROOT / "longlive/evaluation/vbench/program.py"}
    for path in {ROOT / "app.py", *ROOT.glob("longlive/**/*.py")} - elsewhere:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    # Triton comes with the CUDA builds of torch, and is imported only where there is one.
    foreign = imported - set(sys.stdlib_module_names) - {"longlive", "triton"}
    names = {packages[name][0].lower().replace("_", "-") for name in foreign}
    extras = {
        Requirement(one).name for group in PROJECT.get("optional-dependencies", {}).values() for one in group
    }
    assert names - extras - {"playwright"} == set(NEEDED), "playwright: only for browser.py of the load test"
    assert "playwright" in FOR_TESTS and extras <= set(FOR_TESTS)


@pytest.mark.parametrize("one", [*NEEDED.values(), *FOR_TESTS.values()], ids=lambda one: one.name)
def test_what_the_tests_run_with_is_what_is_required_within_bounds(one: Requirement) -> None:
    assert one.specifier.contains(version(one.name), prereleases=True)
    assert {part.operator for part in one.specifier} == {">=", "<"}


def test_the_container_holds_what_the_app_needs() -> None:
    text = (ROOT / "assets/container/Containerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()}
    assert copied == {*COPIED, "requirements.txt"}
    (image,) = re.findall(r"^ARG BASE=\S+/python:([\d.]+)-slim$", text, re.M)
    assert SpecifierSet(PROJECT["requires-python"]).contains(image)
    options = {name.upper() for name in vars(app.read_options([]))}
    assert set(re.findall(r"LONGLIVE_([A-Z_]+)=", text)) <= options
    assert re.findall(r"^torch>", (ROOT / "requirements.txt").read_text(), re.M), "RUN looks for this line"


READ_BY_TESTS = r'environ[^"\n]*"LONGLIVE_([A-Z_]+)"'


def test_every_variable_in_the_documentation_is_an_option() -> None:
    documented = {
        name for path in ROOT.rglob("*.md") for name in re.findall(r"LONGLIVE_([A-Z_]+)", path.read_text())
    }
    options = {name.upper() for name in vars(app.read_options([]))}
    tests = {
        name for path in ROOT.glob("tests/**/*.py") for name in re.findall(READ_BY_TESTS, path.read_text())
    }
    assert documented and documented <= options | tests


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^hf (.+)$", DEPLOYING, re.M))))
def test_every_hub_command_in_the_documentation_exists(line: str) -> None:
    words = line.split("#")[0].split()
    command = [
        word for word in words[: 3 if words[0] in ("spaces", "repos", "auth") else 1] if word.islower()
    ]
    if command[:2] == ["spaces", "variables"]:
        assert words[2] == "add"
    asked = subprocess.run(["hf", *command, "--help"], capture_output=True, text=True, env=QUIET)
    assert asked.returncode == 0
    options = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", asked.stdout))
    assert {word for word in words if word.startswith("-")} <= options
    flavors = [words[n + 1] for n, word in enumerate(words) if word in ("--flavor", "--hardware")]
    assert all(flavor in [hardware.value for hardware in SpaceHardware] for flavor in flavors)


QUIET = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


@pytest.mark.parametrize(
    "environment, host, port",
    [
        ({}, "127.0.0.1", 7860),
        (SPACE, "0.0.0.0", 7860),
        ({"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "7861"}, "0.0.0.0", 7861),
        (SPACE | {"LONGLIVE_HOST": "127.0.0.1", "LONGLIVE_PORT": "8000"}, "127.0.0.1", 8000),
    ],
)
def test_the_app_listens_where_its_host_looks_for_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], host: str, port: int
) -> None:
    for name in ("SYSTEM", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = app.read_options([])
    assert (options.host, options.port) == (host, port)


@pytest.mark.parametrize("environment, address", [({}, "127.0.0.3"), (SPACE, "203.0.113.9")])
def test_only_on_a_space_do_forwarded_addresses_count(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], address: str
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    monkeypatch.setenv("SYSTEM", environment.get("SYSTEM", ""))
    app.trust_proxies()
    monkeypatch.delenv("SYSTEM")
    seen = []
    with serve_page() as page:
        monkeypatch.setattr(page.engine, "start", lambda *_, address, **__: seen.append(address))
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.3")
        with httpx.Client(transport=elsewhere, headers={"X-Forwarded-For": "203.0.113.9"}) as proxy:
            call = proxy.post(f"{page.url}gradio_api/call/start", json={"data": ["a red ball", 7, []]})
            proxy.get(f"{page.url}gradio_api/call/start/{call.json()['event_id']}")
    assert seen == [address]


@contextmanager
def started(folder: Path, **environment: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The app in a process of its own, and an address other than 127.0.0.1 where it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = QUIET | environment | {"GRADIO_SERVER_PORT": port, "LONGLIVE_MODEL": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield f"http://127.0.0.2:{port}/", process  # of the loopback addresses one that is not 127.0.0.1
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_app_starts_in_a_space_and_answers_there(tiny_folder: Path) -> None:
    with started(tiny_folder, **SPACE) as (url, process):
        deadline = time.monotonic() + 240
        while True:
            assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
            try:
                health = json.load(urllib.request.urlopen(f"{url}health", timeout=5))
                break
            except (OSError, urllib.error.URLError):
                time.sleep(0.3)
        assert health["status"] == "ok" and health["executor"] == "thread" and health["model"] == "tiny"
        asked = urllib.request.Request(
            url, headers={"X-Forwarded-Host": SPACE["SPACE_HOST"], "X-Forwarded-Proto": "https"}
        )
        page = urllib.request.urlopen(asked, timeout=10).read().decode()
        assert "LongLive" in page and f"https://{SPACE['SPACE_HOST']}" in page
        assert b"longlive_runs_started_total" in urllib.request.urlopen(f"{url}metrics", timeout=5).read()
        process.send_signal(signal.SIGINT)
        process.wait(60)
