"""The forked programs that other tests use are like those that Python starts itself."""

import signal
import subprocess
import sys
from subprocess import PIPE, STDOUT, TimeoutExpired

import pytest

from tests.support import prefork
from tests.support.paths import ROOT
from tests.support.prefork import ForkedProgram


@pytest.mark.parametrize(
    ("script", "code", "output"),
    [
        ("print('done')", 0, "done"),
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit('wrong')", 1, "wrong"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import atexit; atexit.register(print, 'at the end')", 0, "at the end"),
        ("import threading, time; threading.Timer(0.1, print, ['late']).start()", 0, "late"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
    ],
)
def test_a_program_ends_as_under_python(script: str, code: int, output: str) -> None:
    with ForkedProgram(["-c", script], stdout=PIPE, stderr=STDOUT) as program:
        assert program.stdout is not None
        assert output in program.stdout.read()
    assert program.poll() == program.wait() == code


def test_it_has_its_own_arguments_variables_input_and_folder() -> None:
    script = "import os, sys; print(sys.argv, os.getcwd(), dict(os.environ), input())"
    with ForkedProgram(["-c", script, "one"], env={"TWO": "2"}, stdin=PIPE, stdout=PIPE) as program:
        assert program.stdin is not None and program.stdout is not None
        program.stdin.write("three\n")
        program.stdin.flush()
        assert program.stdout.read() == f"['-c', 'one'] {ROOT} {{'TWO': '2'}} three\n"


def test_it_imports_the_package_itself_and_knows_nothing_of_pytest() -> None:
    script = "import sys; print([name for name in sys.modules if name.split('.')[0] == 'longlive'])\n"
    script += "print([type(one).__module__ for one in sys.meta_path if 'pytest' in type(one).__module__])"
    with ForkedProgram(["-c", script], stdout=PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.read() == "[]\n[]\n"


def test_it_can_be_killed() -> None:
    with ForkedProgram(["-c", "import time; time.sleep(60)"]) as program:
        assert program.poll() is None
        with pytest.raises(TimeoutExpired):
            program.wait(0.01)
        program.kill()
    assert program.returncode == -signal.SIGKILL


def test_without_a_package_nothing_is_started_and_a_program_says_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefork, "_template", None)
    with pytest.raises(RuntimeError, match=r"call start_template\(\) first"):
        ForkedProgram(["-c", ""])
    monkeypatch.setattr(prefork, "MODULES", ("torch", "no_such_package.module"))
    prefork.start_template()
    assert prefork._template is None
    with pytest.raises(RuntimeError, match="not installed: no_such_package;"):
        ForkedProgram(["-c", ""])


WITHOUT_WEB_PACKAGES = """
import sys
for name in ("fastapi", "gradio", "gradio_client", "httpx", "playwright", "ray", "starlette", "uvicorn"):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_the_tests_for_a_gpu_need_no_web_packages() -> None:
    line = next(one for one in (ROOT / ".ci/gpu").read_text().splitlines() if "-m pytest" in one)
    arguments = line.partition("-m pytest ")[2].partition(" ||")[0].split()
    assert "-n0" in arguments, "xdist's workers would share one GPU"
    command = [sys.executable, "-c", WITHOUT_WEB_PACKAGES, *arguments, "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
