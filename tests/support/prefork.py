"""Programs in processes of their own, forked from one that has imported torch, diffusers and Gradio.

Those imports take five seconds of a core; the package and the program itself are imported by each program
anew. What is to be seen of a program's very start, the order of its imports or its variables for the C
library, needs a process from ``subprocess``.
"""

import atexit
import contextlib
import faulthandler
import gc
import importlib
import importlib.util
import os
import pickle
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, TimeoutExpired
from typing import IO, NoReturn

from tests import USUAL_THRESHOLD
from tests.support.paths import ROOT

MODULES = (
    "torch",
    "diffusers.models.autoencoders.autoencoder_kl_wan",
    "transformers.models.umt5.modeling_umt5",
    "tokenizers",
    "peft",
    "gradio",
    "gradio_client",
    "matplotlib.pyplot",  # Gradio asks it for its backend at each event
)
_REPORT = struct.Struct("i")
_template: tuple[int, socket.socket] | None = None


class ForkedProgram:
    """A program that runs, with the methods of ``subprocess.Popen``.

    Args:
        command: as of ``python``: ``-m MODULE``, ``-c SCRIPT`` or a file, and arguments.
        env: all its variables; those of the tests if None.
        stdin: PIPE, or None for no input.
        stdout: a file or PIPE; None for that of the tests.
        stderr: a file, STDOUT or DEVNULL; None for that of the tests.

    Raises:
        RuntimeError: no template was started, or a package that it imports is not installed.
    """

    def __init__(
        self,
        command: list[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | IO | None = None,
        stderr: int | IO | None = None,
    ) -> None:
        if _template is None:
            missing = missing_packages()
            raise RuntimeError(
                f"there is no process to fork: not installed: {', '.join(missing)}; install requirements.txt"
                if missing
                else "there is no process to fork: call start_template() first, as tests/conftest.py does"
            )
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self._report, report = os.pipe()
        with contextlib.ExitStack() as theirs:
            theirs.callback(os.close, report)
            nothing = os.open(os.devnull, os.O_RDWR)
            theirs.callback(os.close, nothing)
            read_end = nothing
            if stdin == PIPE:
                read_end, write_end = os.pipe()
                theirs.callback(os.close, read_end)
                self.stdin = os.fdopen(write_end, "w")
            if stdout == PIPE:
                mine, out = os.pipe()
                theirs.callback(os.close, out)
                self.stdout = os.fdopen(mine)
            else:
                out = 1 if stdout is None else stdout.fileno()  # type: ignore[union-attr]
            if isinstance(stderr, int):
                errors = {STDOUT: out, DEVNULL: nothing}[stderr]
            else:
                errors = 2 if stderr is None else stderr.fileno()
            asked = pickle.dumps((command, dict(os.environ if env is None else env)))
            socket.send_fds(_template[1], [asked], [read_end, out, errors, report])
        self.pid = self._next_report()

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.returncode = self._next_report()
            os.close(self._report)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """That, once it has ended; subprocess.TimeoutExpired if it does not in time."""
        if self.returncode is None and not select.select([self._report], [], [], timeout)[0]:
            raise TimeoutExpired(f"process {self.pid}", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "ForkedProgram":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                pipe.close()
        self.wait()

    def _next_report(self) -> int:
        number: int = _REPORT.unpack(os.read(self._report, _REPORT.size))[0]
        return number


def missing_packages() -> list[str]:
    """The packages of MODULES that are not installed; a bare GPU machine has no web packages."""
    packages = dict.fromkeys(name.partition(".")[0] for name in MODULES)
    return [one for one in packages if importlib.util.find_spec(one) is None]


def start_template() -> None:
    """Import the modules, and fork the process that all programs of this one come from.

    Nothing if one of the packages is missing: only ForkedProgram needs it.
    """
    global _template
    if missing_packages():
        return
    import torch

    for name in MODULES:
        importlib.import_module(name)
    torch.set_num_threads(1)
    asking, requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gc.freeze()
    pid = os.fork()
    if pid:
        _template = pid, asking
        requests.close()
        return
    try:
        asking.close()
        _forget_pytest(requests.fileno())
        _serve(requests)
    finally:
        os._exit(1)


def stop_template() -> None:
    """End that process; programs that still run go on."""
    global _template
    if _template is not None:
        pid, asking = _template
        _template = None
        asking.close()
        os.waitpid(pid, 0)


def _forget_pytest(kept: int) -> None:
    """Undo what pytest has set in this process and imported of ours, and let go of its files."""
    atexit._clear()
    faulthandler.disable()
    sys.excepthook, sys.unraisablehook = sys.__excepthook__, sys.__unraisablehook__
    threading.excepthook = threading.__excepthook__
    for kind in (DeprecationWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", kind)  # as usual; pytest shows them
    sys.meta_path[:] = [one for one in sys.meta_path if not type(one).__module__.startswith("_pytest")]
    for name in [one for one in sys.modules if one.partition(".")[0] in ("longlive", "spaces", "tests")]:
        del sys.modules[name]
    gc.set_threshold(*USUAL_THRESHOLD)
    nothing = os.open(os.devnull, os.O_RDWR)
    for path in Path("/proc/self/fd").iterdir():
        number = int(path.name)
        if number > 2 and number not in (kept, nothing):
            with contextlib.suppress(OSError):  # not closed: Python's file objects still have the number
                os.fstat(number)
                os.dup2(nothing, number)


def _serve(requests: socket.socket) -> None:
    """Fork a keeper for each program, until pytest ends."""
    while True:
        asked, files, *_ = socket.recv_fds(requests, 2**20, 4)
        with contextlib.suppress(ChildProcessError):  # keepers that have ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not asked:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            _keep(*pickle.loads(asked), *files)
        for file in files:
            os.close(file)


def _keep(command: list[str], env: dict[str, str], read_end: int, out: int, errors: int, report: int) -> None:
    """Fork a program, and report its process and its exit code."""
    pid = os.fork()
    if pid == 0:
        os.close(report)
        for number, file in enumerate((read_end, out, errors)):
            os.dup2(file, number)
            os.close(file)
        _run(command, env)
    for number in (0, 1, 2, read_end, out, errors):
        with contextlib.suppress(OSError):
            os.close(number)
    os.write(report, _REPORT.pack(pid))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(report, _REPORT.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _run(command: list[str], env: dict[str, str]) -> NoReturn:
    """Run a program in this process, as ``python`` does."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(ROOT)
    unbuffered = bool(env.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = os.fdopen(0)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1 if unbuffered else -1)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    code = 0
    try:
        _execute(*command)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def _execute(what: str, *arguments: str) -> None:
    if what == "-m":
        sys.argv = [*arguments]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif what == "-c":
        sys.argv = ["-c", *arguments[1:]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(arguments[0], vars(main))
    else:
        sys.argv = [what, *arguments]
        sys.path.insert(0, str(Path(what).resolve().parent))
        runpy.run_path(what, run_name="__main__")
