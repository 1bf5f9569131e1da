"""Files as callers send them: data URLs, since Gradio's uploads are closed."""

import base64
import binascii
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from longlive.config import ModelConfig
from longlive.errors import BusyError, ConfigError
from longlive.generation.start_clip import read_start
from longlive.web.middleware.json_body import MAX_FILE_BYTES

READING_TIMEOUT_S = 30
_reading = threading.BoundedSemaphore(2)
"""A large picture takes up to 400 MB while it is read (WebP; PNG 200), and a video a core."""


def read_start_file(value: Any, model: ModelConfig) -> np.ndarray | None:
    """The pictures, uint8 (N, H, W, 3), of a data URL; None for none.

    Raises:
        ConfigError: for what is no data URL, or too large.
        MediaError: if it is no picture or video, or cannot be read.
        BusyError: if others have their files read for too long.
    """
    if value is None or value == "":
        return None
    content = decode_file("start_from", value, cure="Leave it out to begin with the prompt.")
    with reading():
        return read_start(content, model, name="The file to begin with")


def decode_file(field: str, value: Any, *, cure: str) -> bytes:
    """The content of a data URL; ConfigError, with ``field`` and ``cure``, for what is none or too large."""
    head, comma, data = value.partition(",") if isinstance(value, str) else ("", "", "")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        rule = "it must be a data URL, such as data:image/png;base64,…"
        raise ConfigError(field, _shortened(value), rule, cure)
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(
            field, _shortened(value), f"it is no base64 ({error})", "Encode it again."
        ) from error
    if len(content) > MAX_FILE_BYTES:
        rule = f"a file may have at most {MAX_FILE_BYTES:,} bytes"
        raise ConfigError(field, f"{len(content):,} bytes", rule, "Make it smaller first.")
    return content


@contextmanager
def reading() -> Iterator[None]:
    """Read one of the few files that are read at once; BusyError if the others take too long."""
    if not _reading.acquire(timeout=READING_TIMEOUT_S):
        raise BusyError("Too many files are being read here. Please try again in a minute.")
    try:
        yield
    finally:
        _reading.release()


def _shortened(value: Any) -> str:
    return str(value)[:40]
