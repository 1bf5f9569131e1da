"""The bodies of requests: JSON that every reader takes the same way, and that names no file."""

import json
import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

DEEPEST = 24
LARGEST_INTEGER = 2**63


class RefusedRequest(Exception):
    """A request that is not let in, with its status and why, in words."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        """Answer with ``status`` and ``words``."""
        super().__init__(words)
        self.status = status


def parse(content: bytes) -> Any:
    """What a body says, if it is JSON that every reader takes the same way, and names no file.

    Not so are NaN and infinities, integers beyond 64 bits, halves of surrogate pairs, ever deeper lists, and
    Gradio's words for files: this page takes none.

    Raises:
        Refusal: saying which of these came.
    """
    try:
        value = json.loads(content.decode(), parse_constant=_finite, parse_float=_finite, parse_int=_small)
    except (ValueError, RecursionError):
        raise RefusedRequest(HTTPStatus.BAD_REQUEST, "This is not JSON that can be read here.") from None
    for part, depth in _walk(value):
        if depth > DEEPEST:
            raise RefusedRequest(
                HTTPStatus.BAD_REQUEST, f"At most {DEEPEST} levels of lists and objects are read."
            )
        if isinstance(part, dict) and part.keys() >= {"path", "meta"}:
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, "Files are not taken here.")
        if isinstance(part, str) and not _is_unicode(part):
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, "This holds half a character (a lone surrogate).")
    return value


def _walk(value: Any) -> Iterator[tuple[Any, int]]:
    """Every part of a value, keys included, with its depth."""
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict):
            waiting += [(one, depth + 1) for one in (*part.keys(), *part.values())]
        elif isinstance(part, list):
            waiting += [(one, depth + 1) for one in part]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value


def _small(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) >= LARGEST_INTEGER:
        raise ValueError(text)
    return value
