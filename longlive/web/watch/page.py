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
    "chunk_strip.js",
    "watch/links.js",
    "watch/proposals.js",
    "watch/watch.js",
    "watch/room.js",
    "review.js",
)
_STYLES = ("style.css", "watch/watch.css", "watch/proposals.css")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'"
)
"""Stricter than that of Gradio's page, which is sent beside it: both hold."""
_NEVER_CHANGES = {"Cache-Control": "public, max-age=31536000, immutable"}


def page_answer(request: Request, status: int) -> Response:
    """The page; its script finds out by itself what is to be watched."""
    # As seen from /watch/ID, and from /room.
    folder, home = ("assets", "../") if request.path_params else ("watch/assets", "./")
    places = {"{assets}": f"{folder}/{_digest(_theme(request))}", "{home}": home}
    places["{proposals}"] = _read("watch/proposals.html")
    html = _read("watch/watch.html")
    for name, place in places.items():
        html = html.replace(name, place)
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    return Response(html, status, media_type="text/html", headers=headers)


async def send_asset(request: Request) -> Response:
    """The page's script or style, under an address that changes with its content."""
    theme, name = _theme(request), request.path_params["name"]
    if request.path_params["digest"] != _digest(theme) or name not in ("watch.js", "watch.css"):
        return error_answer(HTTPStatus.NOT_FOUND, "There is no such file.")
    if name == "watch.js":
        return Response(_script(), media_type="text/javascript", headers=_NEVER_CHANGES)
    return Response(_style(theme), media_type="text/css", headers=_NEVER_CHANGES)


def _theme(request: Request) -> str:
    """The colours and fonts of Gradio's page, as CSS variables."""
    theme: str = request.app.get_blocks().theme_css
    return theme


@cache
def _script() -> str:
    """One script, in a scope of its own."""
    return "\n".join(["(() => {", *map(_read, _SCRIPTS), "})();"])


@cache
def _style(theme: str) -> str:
    return "\n".join([theme, *map(_read, _STYLES)])


@cache
def _digest(theme: str) -> str:
    return hashlib.sha256(f"{_script()}{_style(theme)}".encode()).hexdigest()[:16]


def _read(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")
