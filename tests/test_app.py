"""The app's options, its errors, and that it serves."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client

from tests.support.paths import ROOT

ENVIRONMENT = os.environ | {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run_app(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=300
    )


def test_options_come_from_the_command_line_then_the_environment_then_defaults(monkeypatch) -> None:
    import app

    monkeypatch.setenv("LONGLIVE_PORT", "7999")
    monkeypatch.setenv("LONGLIVE_SHARE", "0")
    options = app.read_options(["--model", "there"])
    assert (options.model, options.host, options.port, options.share) == (["there"], "127.0.0.1", 7999, False)
    assert app.read_options(["--port", "8000", "--mcp"]).port == 8000


@pytest.mark.parametrize("name, value", [("PORT", "many"), ("PLAYER", "radio")])
def test_an_impossible_option_is_refused_wherever_it_comes_from(monkeypatch, capsys, name, value) -> None:
    import app

    monkeypatch.setenv(f"LONGLIVE_{name}", value)
    with pytest.raises(SystemExit) as stop:
        app.read_options([])
    assert stop.value.code == 2 and value in capsys.readouterr().err


def test_an_unknown_model_is_one_line_of_error_and_exit_code_2() -> None:
    done = run_app("--model", "no-such-model", "--port", str(free_port()))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(lines) == 1 and re.match(r"error: .*no-such-model", lines[0])
    assert "Traceback" not in done.stderr


PORT_IS_TAKEN_WHILE_LOADING = """
import socket
import sys

import app
from tests.support.fakes import FakeModels, make_engine


def open_engine(options):
    options.other = socket.create_server((options.host, options.port))
    return make_engine(FakeModels())


app.open_engine = open_engine
sys.exit(app.main())
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.slow
def test_a_port_that_is_taken_while_the_model_loads_is_one_line_of_error_and_exit_code_2(
    tmp_path: Path, host: str
) -> None:
    port = free_port()
    command = [sys.executable, "-c", PORT_IS_TAKEN_WHILE_LOADING, "--host", host, "--port", str(port)]
    environment = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "rror" in line or "port" in line]
    assert lines == [
        f"error: --port is {port}, but another program, perhaps another LongLive, listens there on {host}. "
        "End it, or choose another port."
    ]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_app_serves_behind_a_proxy_and_leaves_nothing_when_it_is_told_to_end(
    tiny_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    command = [sys.executable, "app.py", "--model", str(tiny_folder), "--port", str(port)]
    kept = {name: value for name, value in ENVIRONMENT.items() if not name.lower().endswith("_proxy")}
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    # A shell's background job ignores interrupts, and its children would; this one must hear them.
    app = subprocess.Popen(
        command,
        cwd=ROOT,
        env=kept | proxies | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 240
        while True:
            assert app.poll() is None and time.monotonic() < deadline, app.stdout.read().decode()
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read().decode()
                break
            except OSError:
                time.sleep(0.5)
        assert "LongLive" in page
        client = Client(f"http://127.0.0.1:{port}/", verbose=False, download_files=False)
        client.predict({"prompts": ["a red ball"]}, 1, 7, api_name="/generate")
        next(iter(client.submit("a red ball", 7, [], api_name="/start")))
        assert len(list(tmp_path.rglob("*.mp4"))) > 0, "that is where files lie while it runs"
        app.send_signal(number)
        output, _ = app.communicate(timeout=60)
        assert app.returncode == 0 and b"Traceback" not in output, output.decode()
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not list(tmp_path.glob("longlive-*"))
    finally:
        app.kill()
