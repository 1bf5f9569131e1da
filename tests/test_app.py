"""The app's options, its errors, and that it serves."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.support.paths import ROOT

ENVIRONMENT = os.environ | {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


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
    assert (options.model, options.host, options.port, options.share) == ("there", "127.0.0.1", 7999, False)
    assert app.read_options(["--port", "8000", "--mcp"]).port == 8000


@pytest.mark.parametrize("name, value", [("PORT", "many"), ("PLAYER", "radio")])
def test_an_impossible_option_is_refused_wherever_it_comes_from(monkeypatch, capsys, name, value) -> None:
    import app

    monkeypatch.setenv(f"LONGLIVE_{name}", value)
    with pytest.raises(SystemExit) as stop:
        app.read_options([])
    assert stop.value.code == 2 and value in capsys.readouterr().err


def test_an_unknown_model_is_one_line_of_error_and_exit_code_2() -> None:
    done = run_app("--model", "no-such-model")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(lines) == 1 and re.match(r"error: .*no-such-model", lines[0])
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_app_serves_the_page_and_ends_at_an_interrupt(tiny_folder) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--model", str(tiny_folder), "--port", str(port)]
    # A shell's background job ignores interrupts, and its children would; this one must hear them.
    app = subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
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
        app.send_signal(signal.SIGINT)
        app.wait(60)
    finally:
        app.kill()
