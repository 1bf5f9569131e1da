"""The headers that every response carries."""

from types import SimpleNamespace
from typing import Any

from longlive.web.middleware.security_headers import headers_of


def test_a_space_may_show_the_hub_s_bar_and_a_shared_page_gradio_s_scripts() -> None:
    def policy(**page: Any) -> str:
        return dict(headers_of(SimpleNamespace(**page)))[b"content-security-policy"].decode()

    assert "connect-src 'self' https://huggingface.co" in policy(space_id="a/b", share=False)
    assert "amazonaws" in policy(space_id=None, share=True)
    assert "amazonaws" not in policy(space_id="a/b", share=False)
