"""The folders of ``python -m longlive space`` in environments as Spaces build them.

    python -m tests.support.space_environments FOLDER [HARDWARE …]

For each kind of hardware: the folder; a new environment with what the platform brings (Gradio of the front
matter's version, ``spaces``, ``huggingface_hub``, and on ZeroGPU its torch), then the folder's requirements
on top, which must leave those as they are; the app with a Space's variables, and for ZeroGPU on a device that
we play (fake_zero_gpu.py); a browser that watches the storybook. One JSON line a kind. Needs Chromium.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gradio_client import Client

from longlive.cli.space import HARDWARE
from tests.support.fake_zero_gpu import VISITOR, fake_device
from tests.support.fakes import PATIENT
from tests.support.paths import ROOT

# Of a running Space: hub-docs, spaces-overview; Node stands before Gradio there (gradio issue 13693).
SPACE = {
    "SYSTEM": "spaces",
    "SPACE_ID": "you/longlive",
    "SPACE_HOST": "you-longlive.hf.space",
    "SPACE_AUTHOR_NAME": "you",
    "SPACE_REPO_NAME": "longlive",
    "SPACE_TITLE": "LongLive",
    "ACCELERATOR": "none",
    "GRADIO_SSR_MODE": "True",
}
ZERO_TORCH = "2.11.0"
"""The newest that ZeroGPU has, by its own page (hub-docs, spaces-zerogpu)."""
MANAGED = ("gradio", "spaces", "huggingface_hub")
PROMPT = "a red ball stands on a green meadow"
START_S = 300.0


def prepare(folder: Path, hardware: str) -> dict[str, Any]:
    """Write the Space's folder; what the command printed."""
    command = [sys.executable, "-m", "longlive", "space", str(folder), "--hardware", hardware, "--json"]
    printed = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    return dict(printed)


def build(environment: Path, space: Path, hardware: str) -> dict[str, Any]:
    """Install as the platform does; RuntimeError if the requirements change what it manages."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    lines = (space / "README.md").read_text(encoding="utf-8").splitlines()
    sdk = next(line.split(":")[1].strip() for line in lines if line.startswith("sdk_version:"))
    pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--retries", "0"]
    own = [f"gradio[oauth]=={sdk}", *MANAGED[1:], *([f"torch=={ZERO_TORCH}"] if _is_zero(hardware) else [])]
    subprocess.run([*pip, "install", "-q", *own], check=True, stdout=sys.stderr)
    before = _versions(environment, *MANAGED, *(["torch"] if _is_zero(hardware) else []))
    subprocess.run(
        [*pip, "install", "-q", "-r", "requirements.txt"], cwd=space, check=True, stdout=sys.stderr
    )
    subprocess.run([*pip, "check"], check=True, stdout=sys.stderr)
    after = _versions(environment, *before)
    if after != before:
        raise RuntimeError(f"the requirements change what the platform manages: {before} became {after}")
    return {
        "install_s": round(time.perf_counter() - begun, 1),
        "environment_bytes": sum(path.lstat().st_size for path in environment.rglob("*") if path.is_file()),
        "python": sys.version.split()[0],
        "versions": _versions(environment, *MANAGED, "torch", "diffusers", "transformers"),
    }


def _is_zero(hardware: str) -> bool:
    return hardware.startswith("zero-")


def _versions(environment: Path, *names: str) -> dict[str, str]:
    script = "import json, sys; from importlib.metadata import version; "
    script += "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    done = [str(environment / "bin/python"), "-c", script, *names]
    return dict(json.loads(subprocess.run(done, check=True, capture_output=True, text=True).stdout))


@contextmanager
def started(environment: Path, space: Path, log: Path, variables: dict[str, str]) -> Iterator[str]:
    """The app of a Space's folder, with no variable of ours but those given; its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    home = log.with_name("home")
    home.mkdir(exist_ok=True)
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    own = {"PATH": path, "HOME": str(home), "GRADIO_SERVER_PORT": port, "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [str(environment / "bin/python"), "app.py"]
    if "SPACES_ZERO_GPU" in variables:
        command[1:1] = ["-m", "tests.support.fake_zero_gpu"]
        own["PYTHONPATH"] = str(ROOT)  # behind the folder itself, so that longlive comes from there
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=space, env=SPACE | own | variables, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the app does not answer:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def watch(url: str) -> dict[str, Any]:
    """The page in a browser: what ``measure`` finds in twelve seconds with a new prompt."""
    command = [sys.executable, "-m", "longlive", "measure", url, "--player", "live", "--json"]
    command += ["--seconds", "12", "--switches", "1"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout)["live"])


def play(url: str) -> int:
    """A few segments for a program, with the header that says who a visitor is; how many came."""
    client = Client(url, headers=VISITOR, verbose=False, httpx_kwargs=PATIENT)
    job = client.submit(PROMPT, 7, [], api_name="/start")
    count = 0
    for player, *_ in job:
        count += player["kind"] == "segment"
        if count == 4:
            client.predict(api_name="/stop")
    return count


def try_out(folder: Path, hardware: str) -> dict[str, Any]:
    """Everything for one kind; its files lie in ``folder``."""
    space, environment = folder / "space", folder / "environment"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    printed = prepare(space, hardware)
    with ExitStack() as stack:
        result = {"hardware": hardware, "folder_bytes": _size(space), **build(environment, space, hardware)}
        variables, device = printed["variables"], None
        if _is_zero(hardware):
            device = stack.enter_context(fake_device(folder))
            simulated = {name: value for name, value in device.environment().items() if "ZERO" in name}
            variables = variables | simulated | {"LONGLIVE_DTYPE": "float32"}
        begun = time.perf_counter()
        url = stack.enter_context(started(environment, space, folder / "app.log", variables))
        result["start_s"] = round(time.perf_counter() - begun, 1)
        with urllib.request.urlopen(f"{url}health", timeout=10) as answer:
            result["health"] = json.load(answer)
        result["browser"] = watch(url)
        result["segments"] = play(url)
        if device:
            result["leases"] = len(device.leases)
            result["visitor_is_known"] = device.leases[-1].visitor == VISITOR["x-ip-token"]
            for lease in device.leases:
                if lease.pid is not None:
                    stack.callback(device.kill, lease)
    return result


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for everything; made if it is not there")
    parser.add_argument("hardware", nargs="*", help=f"of {', '.join(HARDWARE)} (default: all)")
    args = parser.parse_args()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    for hardware in args.hardware or HARDWARE:
        folder = args.folder.resolve() / hardware
        print(json.dumps(try_out(folder, hardware)), flush=True)
        shutil.rmtree(folder / "environment", ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
