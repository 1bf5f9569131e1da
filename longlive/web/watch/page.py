"""The page of those who watch along: plain HTML with a script and a style of its own; nothing of Gradio's."""

import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from longlive.web.review import error_answer

ASSETS = "/watch/assets"
_WEB = Path(__file__).parents[1]
_SCRIPTS = (
    "connection.js",
    "segment_buffer.js",
    "stored_video.js",
    "watch/links.js",
    "watch/strip.js",
    "watch/watch.js",
)
_FILES = {"watch.js": (_SCRIPTS, "text/javascript"), "watch.css": (("watch/watch.css",), "text/css")}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'"
)
"""Stricter than that of Gradio's page, which is sent beside it: both hold."""
_NEVER_CHANGES = {"Cache-Control": "public, max-age=31536000, immutable"}


def page_answer(request: Request, status: int) -> Response:
    """The page; its script finds out by itself what is to be watched."""
    folder = "assets" if request.path_params else "watch/assets"  # as seen from /watch/ID, and from /room
    html = _read("watch/watch.html").replace("{assets}", f"{folder}/{_digest()}")
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    return Response(html, status, media_type="text/html", headers=headers)


async def send_asset(request: Request) -> Response:
    """The page's script or style, under an address that changes with its content."""
    name = request.path_params["name"]
    if request.path_params["digest"] != _digest() or name not in _FILES:
        return error_answer(HTTPStatus.NOT_FOUND, "There is no such file.")
    content, kind = _asset(name)
    return Response(content, media_type=kind, headers=_NEVER_CHANGES)


@cache
def _asset(name: str) -> tuple[str, str]:
    """Content and type of a file that the page loads."""
    parts, kind = _FILES[name]
    return "\n".join(map(_read, parts)), kind


@cache
def _digest() -> str:
    content = "".join(_asset(name)[0] for name in sorted(_FILES))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _read(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")
