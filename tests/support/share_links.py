"""Share links taken apart and put together, without the checks."""

import base64
import json
import zlib
from typing import Any


def packed(values: Any) -> str:
    """The link that holds these values, or this text."""
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    return "video=1." + base64.urlsafe_b64encode(zlib.compress(text)).decode().rstrip("=")


def unpacked(link: str) -> dict[str, Any]:
    """The values that a link holds."""
    data = link.removeprefix("video=1.")
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))))
