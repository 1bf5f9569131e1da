"""One Chromium for all browser tests; it runs only what this repository serves."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.tcp_relay import Cable

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


class Viewer:
    """A tab with the page, and what a person would see in it."""

    def __init__(self, page: Page, served: Served, query: str = "") -> None:
        self.page, self.served = page, served
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.broken: list[tuple[int, str]] = []
        self.lines: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("response", lambda one: self.broken.append((one.status, one.url)) if not one.ok else None)
        page.on("console", lambda line: self.lines.append(line.text))
        page.set_default_timeout(60_000)
        page.goto(served.url + query)
        page.wait_for_function("document.querySelector('#player')?.dataset.state === 'idle'")
        for part in ("#start", "#stop", "#prompt textarea", "#examples .story"):
            page.wait_for_selector(part)
        page.wait_for_timeout(300)

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
        self.page.wait_for_function(script, timeout=timeout * 1000, polling=30)
        return time.monotonic() - begun

    def card(self, selector: str = "#player video") -> tuple[int, int]:
        """(picture, prompt) as read from the pixels on the screen."""
        frame, prompt = self.page.locator(selector).evaluate(READ_CARD)
        return frame, prompt

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


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
    shared_page.wait_until_empty()


@pytest.fixture
def patient_page() -> Iterator[Served]:
    """A page whose stories may be taken up for a minute."""
    with serve_page(FakeModels(chunk_s=0.1), disconnect_timeout_s=2, retention_s=60) as served:
        yield served


@pytest.fixture
def cable(patient_page: Served) -> Iterator[Cable]:
    """What leads to the patient page, and can be pulled out."""
    cable = Cable(patient_page.url)
    yield cable
    cable.close()


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Callable[..., Viewer]]:
    """Open the page in a new tab of a new visitor; options are those of a Playwright context."""
    contexts = []

    def open_tab(query: str = "", served: Served = served, **options: Any) -> Viewer:
        contexts.append(browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)))
        return Viewer(contexts[-1].new_page(), served, query)

    yield open_tab
    for context in contexts:
        context.close()
