"""The player's buffer by itself, where the browser is not ready for it until all has come."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import longlive.web
from longlive.media.segments import SegmentEncoder
from tests.support.pictures import make_chunk

pytestmark = pytest.mark.browser

SCRIPT = Path(longlive.web.__file__).with_name("segment_buffer.js").read_text(encoding="utf-8")
FILL = """async ([before, after, mime]) => {
  const video = document.querySelector("video");
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const buffer = new SegmentBuffer(video, { onChange: () => {}, onFail: console.error });
  before.forEach((text, i) => buffer.add(bytes(text), mime, 0.75 * i));
  buffer.removeFrom(0);
  after.forEach((text, i) => buffer.add(bytes(text), mime, 0.75 * i));
}"""
BUFFERED = """() => {
  const { buffered } = document.querySelector("video");
  return buffered.length === 1 && buffered.end(0) > 2 && [buffered.start(0), buffered.end(0)];
}"""


@pytest.fixture
def blank(browser: Browser) -> Iterator[Page]:
    """A page with a video and the script."""
    page = browser.new_page()
    page.set_content("<video muted></video>")
    page.add_script_tag(content=SCRIPT)
    yield page
    page.close()


@pytest.mark.parametrize("num_before", [0, 1, 2])
def test_what_was_dropped_before_the_browser_was_ready_holds_nothing_up(blank: Page, num_before: int) -> None:
    encoder = SegmentEncoder()
    segments = [encoder.encode(make_chunk(index)) for index in range(3)]
    sent = [base64.b64encode(one.data).decode() for one in segments]
    blank.evaluate(FILL, [sent[:num_before], sent, segments[0].mime])
    start, end = blank.wait_for_function(BUFFERED, timeout=60_000).json_value()
    assert start == pytest.approx(0, abs=0.01) and end == pytest.approx(2.25, abs=0.07)
