"""The cookie by which a browser's proposals and votes are known: a name that the server signed."""

import hashlib
import hmac
import logging
import os
import secrets
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

logger = logging.getLogger(__name__)

COOKIE = "longlive_voice"
KEY_FILE = "voices.key"
MAX_AGE_S = 30 * 86_400
_KEY_BYTES = 32


def voice_of(request: Request, folder: Path) -> str:
    """The voice that a request brings; a new one if it brings none that was signed here.

    Args:
        request: with a cookie, or without.
        folder: of the runs, where the key lies.
    """
    name, _, signature = request.cookies.get(COOKIE, "").partition(".")
    if name and hmac.compare_digest(_sign(name, folder).encode(), signature.encode(errors="replace")):
        return name
    return secrets.token_hex(16)


def set_voice(response: Response, request: Request, voice: str, folder: Path) -> None:
    """Have the browser keep a voice; no script can read it, and no other site can send it."""
    value, is_secure = f"{voice}.{_sign(voice, folder)}", request.url.scheme == "https"
    response.set_cookie(COOKIE, value, max_age=MAX_AGE_S, httponly=True, samesite="strict", secure=is_secure)


def _sign(name: str, folder: Path) -> str:
    return hmac.new(_key(folder), name.encode(errors="replace"), hashlib.sha256).hexdigest()


@cache
def _key(folder: Path) -> bytes:
    """The key that lies with the runs, so that a voice is the same after a restart; drawn at first."""
    path = folder / KEY_FILE
    try:
        key = path.read_bytes()
    except OSError:
        key = b""
    if len(key) == _KEY_BYTES:
        return key
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key)
    except OSError as error:
        logger.warning("voices will not be known after a restart: %s", error.strerror)
    return key
