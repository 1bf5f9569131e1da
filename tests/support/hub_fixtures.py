"""A Hugging Face Hub on this machine: folders served as repositories, with faults on demand."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from longlive.weights.formats.weight_files import sha256_of

PIECE = 2**20


@dataclass
class FakeHub:
    """Serves ``root/owner/name`` at the one revision that ``revisions`` gives.

    Attributes:
        refusals: repository -> what the Hub says: ``GatedRepo``, ``RepoNotFound``, ``RevisionNotFound``.
        cuts: path -> bytes after which each answer breaks off.
        asked: (method, path in the repository, range) of every request for a file.
    """

    root: Path
    revisions: dict[str, str]
    refusals: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def got(self, path: str) -> list[str]:
        """The ranges of the file that were asked for; an empty one is all of it."""
        return [span for method, name, span in self.asked if method == "GET" and name == path]


@contextmanager
def serving(hub: FakeHub, cache: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let huggingface_hub ask ``hub``, and keep its cache in ``cache``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    set_sleep(patch, lambda seconds: None)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does; a subclass says for which ``hub``."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts
        if len(parts) < 4:
            return self.send(404, b"")
        owner, name, what, revision, *rest = parts
        repository, path = f"{owner}/{name}", "/".join(rest)
        fault, root = self.fault(repository, revision), self.hub.root / repository
        if fault:
            self.send(403 if fault == "GatedRepo" else 404, b"", {"X-Error-Code": fault})
        elif what == "tree":
            self.send(200, json.dumps([entry(root, file) for file in files(root)]).encode())
        elif what == "revision":
            commit = self.hub.revisions[repository]
            self.send(200, json.dumps({"id": repository, "sha": commit, "siblings": []}).encode())
        else:
            self.file(root / path, path, self.hub.revisions[repository])

    def fault(self, repository: str, revision: str) -> str | None:
        known = self.hub.revisions.get(repository)
        if repository in self.hub.refusals or known is None:
            return self.hub.refusals.get(repository, "RepoNotFound")
        return None if revision in (known, "main") else "RevisionNotFound"

    def file(self, file: Path, path: str, commit: str) -> None:
        size, span = file.stat().st_size, self.headers.get("Range", "")
        self.hub.asked.append((self.command, path, span))
        begin = int(span.removeprefix("bytes=").rstrip("-") or 0)
        told = {"ETag": f'"{etag(file)}"', "X-Repo-Commit": commit, "X-Linked-Size": str(size)}
        if begin:
            told["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        self.begin(206 if begin else 200, size - begin, told)
        if self.command == "GET":
            cut = self.hub.cuts.get(path)
            with file.open("rb") as data:
                data.seek(begin)
                left = size - begin if cut is None else min(cut, size - begin)
                while piece := data.read(min(left, PIECE)):
                    self.wfile.write(piece)
                    left -= len(piece)
            self.close_connection = cut is not None

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.begin(status, len(body), headers or {})
        if self.command == "GET":
            self.wfile.write(body)

    def begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(key, value)
        self.end_headers()


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name[0] != ".")


def entry(root: Path, file: Path) -> dict[str, object]:
    size = file.stat().st_size
    facts: dict[str, object] = {"type": "file", "path": file.relative_to(root).as_posix(), "size": size}
    if not is_large(file):
        return facts | {"oid": git_sha1(file.read_bytes())}
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{etag(file)}\nsize {size}\n".encode()
    lfs = {"oid": etag(file), "size": size, "pointerSize": len(pointer)}
    return facts | {"oid": git_sha1(pointer), "lfs": lfs}


def is_large(file: Path) -> bool:
    """What the Hub keeps in its store for large files, and names by SHA-256."""
    return file.suffix in (".pt", ".pth", ".safetensors")


def etag(file: Path) -> str:
    published = etag_file(file)
    if published.is_file():
        return published.read_text()
    return sha256_of(file) if is_large(file) else git_sha1(file.read_bytes())


def etag_file(file: Path) -> Path:
    """Where the digest may stand that a file was published with, whatever it holds now."""
    return file.with_name(f".{file.name}.etag")


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def go_offline(patch: pytest.MonkeyPatch) -> None:
    """Forbid huggingface_hub every request."""
    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def set_sleep(patch: pytest.MonkeyPatch, sleep: Callable[[float], object]) -> None:
    """How the Hub's client waits before it tries again; the sleep of other threads stays as it is."""
    for module in ("huggingface_hub.file_download", "huggingface_hub.utils._http"):
        patch.setattr(
            f"{module}.time", SimpleNamespace(sleep=sleep, time=time.time, perf_counter=time.perf_counter)
        )
