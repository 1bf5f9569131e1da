"""What every answer tells the browser about what it may run and fetch."""

from typing import Any

_HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
_SHARE_SCRIPTS = "https://gradio.s3-us-west-2.amazonaws.com"  # where Gradio's page for share=True has its own


def headers_of(blocks: Any) -> list[tuple[bytes, bytes]]:
    """What tells a browser to run nothing from elsewhere.

    Gradio's page has scripts in its HTML and makes functions of text, so ``unsafe-inline`` and
    ``unsafe-eval`` stay; but nothing is fetched from another host, or sent there in the background.
    """
    elsewhere = f" {_HUB}" if blocks.space_id else ""  # the Hub's own bar above a Space
    scripts = f" {_SHARE_SCRIPTS}" if blocks.share else ""
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' 'unsafe-inline' 'unsafe-eval'{scripts}",
        "style-src": f"'self' 'unsafe-inline'{scripts}",
        "img-src": f"'self' data: blob:{elsewhere}",
        "media-src": "'self' blob:",
        "font-src": f"'self' data:{scripts}",
        "connect-src": f"'self'{elsewhere}{scripts}",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": f"'self' {_HUB}",
    }
    told = {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
    return [(name.encode(), value.encode()) for name, value in told.items()]
