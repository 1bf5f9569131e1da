"""ZeroGPU on a machine without a GPU: the genuine ``spaces`` package, and a device API that we play.

    python -m tests.support.fake_zero_gpu PROGRAM [ARGUMENT …]

runs a program as on a ZeroGPU Space, in the ``environment`` of a FakeDevice: the workers are forked, reused,
stopped and released as there, and what crosses is pickled; only CUDA itself is left out. The platform's own
ways to end a worker (an overdue lease, a node that goes away) are a SIGKILL here.
"""

import base64
import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.paths import ROOT
from tests.support.prefork import ForkedProgram

# What the Hub's proxy adds to a visitor's requests; without it there are no words about a quota.
VISITOR = {"x-ip-token": ".".join(["e30", base64.urlsafe_b64encode(b"{}").decode().rstrip("="), "e30"])}


@dataclass
class Lease:
    """A GPU that was lent: to which visitor and process, for how many seconds, and how it came back."""

    token: str
    visitor: str | None
    index: int
    seconds: int
    pid: int | None = None
    is_out: bool = True
    has_failed: bool = False


@dataclass
class FakeDevice:
    """The device API of a ZeroGPU node.

    Attributes:
        idle: what it says of a GPU's last worker: that it may be used again. If not, that worker is killed
            before the GPU is lent again.
        left_s: seconds that the visitor may still have; None for as many as are wanted.
        reports: of a program that started.
        leases: all that were lent, in order.
        refused: the seconds of those that were not.
    """

    folder: Path
    idle: bool = True
    left_s: int | None = None
    reports: int = 0
    leases: list[Lease] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def environment(self) -> dict[str, str]:
        """The variables of a ZeroGPU Space, for a program that is served by this device."""
        group = self.folder / "cgroup"
        group.write_text("0::/sim\n")
        return os.environ | {
            "SPACES_ZERO_GPU": "1",
            "SPACES_ZERO_DEVICE_API_URL": self.url,
            "ZEROGPU_PROC_SELF_CGROUP_PATH": str(group),
            "HOME": str(self.folder),
        }

    def out(self) -> list[Lease]:
        """The leases that did not come back."""
        return [lease for lease in self.leases if lease.is_out]

    def kill(self, lease: Lease) -> None:
        """End a worker as the platform does, without a word."""
        assert lease.pid is not None, lease
        with contextlib.suppress(ProcessLookupError):
            os.kill(lease.pid, signal.SIGKILL)

    def answer(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        """The status and the body that a request is answered with."""
        with self._lock:
            match path:
                case "/startup-report":
                    self.reports += 1
                    return 200, None
                case "/schedule":
                    return self._schedule(int(asked["durationSeconds"]), asked.get("token"))
                case "/allow":
                    self._lease(asked["allowToken"]).pid = int(asked["pid"])
                    return 200, None
                case "/release":
                    return self._release(asked["allowToken"], asked["fail"] == "true"), None
        return 404, None

    def _schedule(self, seconds: int, visitor: str | None) -> tuple[int, Any]:
        if self.left_s is not None and seconds > self.left_s:
            self.refused.append(seconds)
            return 429, {"left": self.left_s, "wait": "PT3H12M"}
        taken = {lease.index for lease in self.out()}
        index = next(number for number in range(64) if number not in taken)
        worker = next((one for one in reversed(self.leases) if one.index == index), None)
        if worker is not None and not self.idle:
            self.kill(worker)
        pid = worker.pid if worker is not None and self.idle else None  # a new one tells it by /allow
        self.leases.append(Lease(f"lease-{len(self.leases)}", visitor, index, seconds, pid))
        facts = {"nvidiaIndex": index, "nvidiaUUID": f"GPU-{index}", "allowToken": self.leases[-1].token}
        return 200, {"idle": self.idle} | facts

    def _release(self, token: str, fail: bool) -> int:
        lease = self._lease(token)
        lease.is_out, lease.has_failed = False, fail
        return 200

    def _lease(self, token: str) -> Lease:
        return next(lease for lease in self.leases if lease.token == token)


@contextmanager
def fake_device(folder: Path, **facts: Any) -> Iterator[FakeDevice]:
    """A device that answers on 127.0.0.1; it keeps its files in ``folder``."""
    device = FakeDevice(folder, **facts)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            status, body = device.answer(parts.path, asked)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    device.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield device
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def program(device: FakeDevice, *command: str, anew: bool = False, patience_s: float = 120) -> Iterator[str]:
    """Run a program with this device, a free port as its last argument; the address of its page.

    Args:
        anew: let it import everything itself, in its own order.
        patience_s: how long it may take to answer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["-m", "tests.support.fake_zero_gpu", *command, str(port)]
    process: subprocess.Popen | ForkedProgram
    if anew:
        process = subprocess.Popen([sys.executable, *arguments], env=device.environment(), cwd=ROOT)
    else:
        process = ForkedProgram(arguments, env=device.environment())
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(address) or process.poll() is not None, patience_s)
        assert process.poll() is None, f"{command} ended with {process.returncode}"
        yield address
    finally:
        process.terminate()
        process.wait(30)
        for lease in device.leases:  # nobody ends a worker but the platform
            if lease.pid is not None:
                device.kill(lease)


def until(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so; fail if it is not after ``seconds``."""
    patience = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < patience, f"not so after {seconds} s"
        time.sleep(0.02)


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/config", timeout=5):
        return True
    return False


def simulate() -> None:
    """Import ``spaces`` as on ZeroGPU, and leave out what needs CUDA itself."""
    import torch

    torch.version.cuda = "13.0"
    torch._C._cuda_init = lambda: None
    torch.cuda._is_in_bad_fork = bool  # the CPU build's cannot be pickled

    import spaces.zero.torch as zero
    from spaces.zero.torch.patching import cuda_aliases

    def move(callback: object = None) -> None:
        """What lay on the emulated GPU lies, in the worker, where the CPU can compute with it."""
        for tensor, content in list(cuda_aliases.items()):
            if content is not None:
                tensor.data = content

    zero.init = lambda nvidia_uuid: None
    zero.move = move
    zero.pack = lambda: 0


def main() -> None:
    """Run the program that the arguments name."""
    simulate()
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
