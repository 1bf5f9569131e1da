"""The page of those who watch along, as it is served."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.support.fakes import Served, serve_page

NEVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page() as served:
        yield served


def assets(served: Served, path: str) -> dict[str, httpx.URL]:
    """The files that a page loads, by their names."""
    page = httpx.URL(served.url).join(path)
    links = re.findall(r'(?:href|src)="([^"]+/watch\.(?:js|css))"', httpx.get(page).text)
    return {link.rpartition("/")[2]: page.join(link) for link in links}


@pytest.mark.parametrize("path", ["watch/any", "room"])
def test_the_page_is_small_and_loads_two_files_that_never_change(served: Served, path: str) -> None:
    found = assets(served, path)
    assert set(found) == {"watch.js", "watch.css"}
    for name, kind in (("watch.js", "text/javascript"), ("watch.css", "text/css")):
        answer = httpx.get(found[name])
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert answer.headers["cache-control"] == NEVER
    assert len(httpx.get(httpx.URL(served.url).join(path)).content) < 8000
    assert found == assets(served, "watch/another"), "all pages share them"


def test_no_script_but_the_page_s_own_may_run(served: Served) -> None:
    policies = httpx.get(f"{served.url}watch/any").headers.get_list("content-security-policy")
    assert any("script-src 'self';" in one and "unsafe" not in one for one in policies)
    assert any("frame-ancestors" in one for one in policies)
    html = httpx.get(f"{served.url}watch/any").text
    assert not re.findall(r"<script(?![^>]*src)|\son\w+=|style=|https?:", html)


def test_files_that_there_are_not_are_not_sent(served: Served) -> None:
    script = str(assets(served, "room")["watch.js"])
    for url in (
        script.replace("watch.js", "watch.html"),
        script.replace("watch.js", "player.js"),
        re.sub("[0-9a-f]{16}", "0" * 16, script),
        script.replace("watch.js", "..%2fwatch.js"),
    ):
        assert httpx.get(url).status_code == 404, url
