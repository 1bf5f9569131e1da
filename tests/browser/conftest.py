"""One Chromium for all browser tests; it runs only what this repository serves."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.page_client import cards_of
from tests.support.tcp_relay import TcpRelay

expect.set_options(timeout=60_000)  # a busy machine shows things late

READ_CARD = """(video) => {
  if (!video || video.readyState < 2) return null;
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [96, 64];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, 96, 64);
  const bit = (n) => context.getImageData((n % 6) * 16 + 8, Math.floor(n / 6) * 16 + 8, 1, 1).data[0] > 128;
  const number = (from, bits) =>
    Array.from({ length: bits }, (_, i) => bit(from + i) << i).reduce((a, b) => a | b);
  return [number(0, 12), number(12, 6)];
}"""

RECORD_CARDS = f"""(video) => {{
  const card = {READ_CARD};
  window.cards = [];
  const record = (_, meta) => {{
    window.cards.push([Math.round(meta.mediaTime * 16), ...card(video)]);
    video.requestVideoFrameCallback(record);
  }};
  video.requestVideoFrameCallback(record);
}}"""


def first_frame(chunk: int) -> int:
    """Number of the first picture of a chunk of test cards."""
    return 9 + 12 * (chunk - 1) if chunk else 0


class Viewer:
    """A tab with the page, and what a person would see in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.broken: list[tuple[int, str]] = []
        self.lines: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("response", lambda one: self.broken.append((one.status, one.url)) if not one.ok else None)
        page.on("console", lambda line: self.lines.append(line.text))
        page.set_default_timeout(60_000)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.wait("data.state === 'idle'")
        for part in ("#start", "#stop", "#prompt textarea", "#examples .example"):
            self.page.wait_for_selector(part)
        self.page.wait_for_timeout(300)

    def branch_at(self, chunk: int, prompt: str) -> None:
        """Look back at a chunk, and go on from there with another prompt."""
        self.write(prompt)
        self.look_at(chunk)
        self.page.click("#branch")

    def look_at(self, chunk: int) -> None:
        """Look back at a chunk of test cards."""
        self.page.click(f"#timeline [data-chunk='{chunk}']")
        first = first_frame(chunk)
        self.page.wait_for_function(f"document.querySelector('#player').dataset.review >= {first}")

    def duplicate(self) -> "Viewer":
        """A copy of the tab, as browsers make it: with its session storage."""
        with self.page.context.expect_page() as opened:
            self.page.evaluate("window.open(location.href)")
        return Viewer(opened.value)

    @property
    def data(self) -> dict[str, str]:
        return self.page.locator("#player").evaluate("(e) => ({ ...e.dataset })")

    def write(self, text: str) -> None:
        self.page.fill("#prompt textarea", text)

    def start(self, text: str) -> None:
        self.write(text)
        self.page.click("#start")
        self.wait("data.frame >= 0")

    def wait(self, condition: str, timeout: float = 60) -> float:
        """Wait until a condition on the player's ``data`` holds; the seconds it took."""
        begun = time.monotonic()
        data = "const data = document.querySelector('#player')?.dataset ?? {};"
        script = f"() => {{ {data} return {condition}; }}"
        try:
            self.page.wait_for_function(script, timeout=timeout * 1000, polling=30)
        except PlaywrightTimeout as error:
            found = f"player {self.data}, status {self.text('#status')!r}, errors {self.errors}"
            raise AssertionError(f"not so after {timeout} s: {condition}; {found}") from error
        return time.monotonic() - begun

    def card(self, selector: str = "#player video") -> tuple[int, int]:
        """(picture, prompt) as read from the pixels on the screen."""
        frame, prompt = self.page.locator(selector).evaluate(READ_CARD)
        return frame, prompt

    def record_cards(self) -> None:
        """Read every picture that reaches the screen from now on; see ``recorded_cards``."""
        self.page.locator("#player video").evaluate(RECORD_CARDS)

    def recorded_cards(self) -> list[tuple[int, int, int]]:
        """For each picture: its number by its time in the video, and (picture, prompt) by its pixels."""
        return [(at, frame, prompt) for at, frame, prompt in self.page.evaluate("window.cards")]

    def downloaded_cards(self) -> list[tuple[int, int]]:
        """(picture, prompt) of each picture of the finished video that the page offers."""
        self.wait("document.querySelector('#take video')?.src")
        return cards_of(
            self.page.request.get(self.page.locator("#take video").evaluate("(e) => e.src")).body()
        )

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


class Watcher:
    """A browser that watches along, under the page's own security policy: nothing is compiled from text."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.errors = page, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.set_default_timeout(60_000)
        page.goto(url)

    @property
    def player(self) -> Locator:
        return self.page.locator("#player")

    def wait(self, **data: str) -> None:
        for name, value in data.items():
            expect(self.player).to_have_attribute(f"data-{name}", value)

    def wait_for_frame(self, number: int) -> int:
        """Wait until this picture, or a later one, is on the screen; its number."""
        for _ in range(3000):
            if (frame := int(self.player.get_attribute("data-frame") or -1)) >= number:
                return frame
            self.page.wait_for_timeout(20)
        raise AssertionError(f"picture {number} did not come: {self.player.get_attribute('data-frame')}")

    def card(self, selector: str = "#player .frame > video") -> tuple[int, int]:
        frame, prompt = self.page.locator(selector).evaluate(READ_CARD)
        return frame, prompt


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    is_needed = "LONGLIVE_NEEDS_BROWSER" in os.environ  # CI sets it: there, a missing browser is an error
    if program is None and not is_needed:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    playwright: Playwright
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=program, args=flags, headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_page() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.1), disconnect_timeout_s=2, retention_s=2) as served:
        yield served


@pytest.fixture
def served(shared_page: Served) -> Iterator[Served]:
    """The page, with nothing going on before and nothing left after."""
    yield shared_page
    shared_page.models.break_at = None
    shared_page.clear()


@pytest.fixture
def patient_page() -> Iterator[Served]:
    """A page whose runs can be resumed for a minute."""
    with serve_page(FakeModels(chunk_s=0.1), disconnect_timeout_s=2, retention_s=60) as served:
        yield served


@pytest.fixture
def relay(patient_page: Served) -> Iterator[TcpRelay]:
    """A connection to the patient page that can be broken."""
    relay = TcpRelay(patient_page.url)
    yield relay
    relay.close()


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Callable[..., Viewer]]:
    """Open the page as a new viewer; options are those of a Playwright context."""
    contexts = []

    def open_tab(query: str = "", served: Served = served, **options: Any) -> Viewer:
        contexts.append(browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)))
        viewer = Viewer(contexts[-1].new_page())
        viewer.open(served.url + query)
        return viewer

    yield open_tab
    for context in contexts:
        context.close()
