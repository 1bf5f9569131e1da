"""The security headers of every response: what a browser may run and fetch."""

from typing import Any

_HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
_SHARE_SCRIPTS = "https://gradio.s3-us-west-2.amazonaws.com"  # used by Gradio's page for share=True


def headers_of(blocks: Any) -> list[tuple[bytes, bytes]]:
    """The headers for a page, which forbid scripts, files and requests of other hosts.

    Gradio's page needs ``unsafe-inline`` and ``unsafe-eval``: it has scripts in its HTML and compiles
    functions from text.

    Args:
        blocks: the page; a Space adds the Hub's hosts, ``share`` the host of Gradio's scripts.
    """
    hub = f" {_HUB}" if blocks.space_id else ""  # the Hub's bar above a Space
    scripts = f" {_SHARE_SCRIPTS}" if blocks.share else ""
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' 'unsafe-inline' 'unsafe-eval'{scripts}",
        "style-src": f"'self' 'unsafe-inline'{scripts}",
        "img-src": f"'self' data: blob:{hub}",
        "media-src": "'self' blob:",
        "font-src": f"'self' data:{scripts}",
        "connect-src": f"'self'{hub}{scripts}",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": f"'self' {_HUB}",
    }
    headers = {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]
