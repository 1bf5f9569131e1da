"""A Hugging Face Hub on this machine: folders served as repositories, with faults on demand."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


@dataclass
class FakeHub:
    """Serves ``root/owner/name`` at the one revision that ``revisions`` gives.

    Attributes:
        refusals: repository -> what the Hub says of it (``GatedRepo``, ``RepoNotFound``, ``RevisionNotFound``).
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
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def handler_of(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            is_api = parts[0] == "api"
            owner, name, what, revision, *rest = parts[2 if is_api else 0 :]
            repository, path = f"{owner}/{name}", "/".join(rest)
            known = hub.revisions.get(repository)
            fault = hub.refusals.get(repository) or ("" if known else "RepoNotFound")
            if not fault and revision not in (known, "main"):
                fault = "RevisionNotFound"
            if fault:
                self.send(403 if fault == "GatedRepo" else 404, b"", {"X-Error-Code": fault})
            elif what == "tree":
                self.send(200, json.dumps([entry(hub.root / repository, f) for f in files(hub, repository)]))
            elif what == "revision":
                self.send(200, json.dumps({"id": repository, "sha": known, "siblings": []}))
            elif not (hub.root / repository / path).is_file():
                self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": str(known)})
            else:
                self.file(hub.root / repository / path, path, str(known))

        def file(self, file: Path, path: str, commit: str) -> None:
            data, span = file.read_bytes(), self.headers.get("Range", "")
            hub.asked.append((self.command, path, span))
            begin = int(span.removeprefix("bytes=").rstrip("-") or 0)
            told = {"ETag": f'"{etag(file)}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(data))}
            if begin:
                told["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            self.send(206 if begin else 200, data[begin:], told, cut=hub.cuts.get(path))

        def send(
            self,
            status: int,
            body: bytes | str,
            headers: dict[str, str] | None = None,
            cut: int | None = None,
        ) -> None:
            body = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:cut])
            self.close_connection = cut is not None

    return Handler


def files(hub: FakeHub, repository: str) -> list[Path]:
    return sorted(
        path for path in (hub.root / repository).rglob("*") if path.is_file() and path.name[0] != "."
    )


def entry(root: Path, file: Path) -> dict[str, object]:
    size = file.stat().st_size
    facts = {"type": "file", "path": file.relative_to(root).as_posix(), "size": size, "oid": git_sha1(file)}
    if is_large(file):
        facts["lfs"] = {"oid": etag(file), "size": size, "pointerSize": 130}
    return facts


def is_large(file: Path) -> bool:
    """What the Hub keeps in its store for large files, and names by SHA-256."""
    return file.suffix in (".pt", ".pth", ".safetensors")


def etag(file: Path) -> str:
    published = file.with_name(f".{file.name}.etag")  # of what a file was before a test spoiled it
    if published.is_file():
        return published.read_text()
    return hashlib.sha256(file.read_bytes()).hexdigest() if is_large(file) else git_sha1(file)


def git_sha1(file: Path) -> str:
    data = file.read_bytes()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
