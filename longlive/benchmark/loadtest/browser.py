"""What a viewer gets in a real browser: ``python -m longlive measure URL --json``.

Chromium opens the page, presses Start, and sends prompts while the video plays; each picture that reaches
the screen is recorded with its time. Needs Playwright's Python package and a Chromium.
"""

import base64
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

STALL_S = 0.25
TIMEOUT_S = 60.0
KEEP_EVERY_S = 6.0
KEEP_FOR_S = 0.75
CHROMIUM = "/usr/bin/chromium"
PROMPTS = ("a red ball stands on a green meadow", "a red ball jumps on a green meadow")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
)

# JavaScript that records [time, second of the video] of every picture shown, in any video element.
RECORD = """() => {
  window.shown = [];
  const observed = new WeakSet();
  const host = document.querySelector('#player');
  const observe = (video) => {
    observed.add(video);
    const record = (now, meta) => {
      window.shown.push([performance.now() / 1000, meta.mediaTime]);
      video.requestVideoFrameCallback(record);
    };
    video.requestVideoFrameCallback(record);
  };
  const find = () => document.querySelectorAll('#player video, #compatible video')
    .forEach((video) => observed.has(video) || observe(video));
  setInterval(find, 50);
  find();
  window.promptShownAt = {};
  new MutationObserver(() => { window.promptShownAt[host.dataset.prompt] ??= performance.now() / 1000; })
    .observe(host, { attributeFilter: ['data-prompt'] });
}"""
_NOW = "performance.now() / 1000"

# Keeps small copies of what is on the screen: some pictures in a row, every few seconds of the video.
_KEEP = """([width, height, every, length]) => {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingQuality = 'high';
  window.pictures = [];
  const video = document.querySelector('#player video');
  const keep = (now, meta) => {
    video.requestVideoFrameCallback(keep);
    const hasShape = video.videoWidth * height === video.videoHeight * width;
    if (!hasShape || meta.mediaTime % every > length) return;
    context.drawImage(video, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    const rgb = data.filter((_, at) => at % 4 < 3);
    window.pictures.push([meta.mediaTime, btoa(String.fromCharCode(...rgb))]);
  };
  video.requestVideoFrameCallback(keep);
}"""


def _do_nothing() -> None:
    pass


@dataclass(frozen=True)
class BrowserPlan:
    """How to watch the page.

    Attributes:
        seconds: to watch, from the first picture on.
        switches: prompts to send in that time, evenly spaced.
        prompts: the first of them, and then those to send, repeated when all were sent.
        fps: of the video.
        chromium: path of the browser.
        timeout_s: how long the first picture may take.
        pictures: width and height of the pictures to keep, if the video has that aspect ratio; None for none.
        on_ready, on_first_picture: called when the page is open, and when the first picture is there.
    """

    seconds: float
    switches: int
    prompts: Sequence[str] = PROMPTS
    fps: float = 16
    chromium: str = CHROMIUM
    timeout_s: float = TIMEOUT_S
    pictures: tuple[int, int] | None = None
    on_ready: Callable[[], None] = _do_nothing
    on_first_picture: Callable[[], None] = _do_nothing


@dataclass(frozen=True)
class BrowserRecording:
    """What was shown in a browser; times are in seconds of the page's clock.

    Attributes:
        started_at: when Start was clicked.
        shown: (time, second of the video) of each picture on the screen; playback begins with the second one.
        waits_s: from each prompt to its first picture.
        gaps: in the video that the browser has buffered.
        pictures: kept ones, (second of the video, RGB bytes).
    """

    started_at: float
    shown: list[list[float]]
    waits_s: list[float]
    gaps: int = 0
    pictures: list[tuple[float, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class BrowserFigures:
    """What one player gave its viewer.

    Attributes:
        player: ``live`` or ``compatible``.
        first_picture_s: from the click on Start to the first picture.
        seconds: how long was watched.
        stalls, longest_gap_s: pauses of more than 0.25 s between two pictures, and the longest pause.
        prompt_to_picture_s, slowest_prompt_s: from Enter to the new prompt's first picture, median and worst.
        pictures_shown, pictures_lost: of those between the first and the last shown; the share never shown.
    """

    player: str
    first_picture_s: float
    seconds: float
    stalls: int
    longest_gap_s: float
    prompt_to_picture_s: float
    slowest_prompt_s: float
    pictures_shown: int
    pictures_lost: float


def record_page(url: str, player: str, plan: BrowserPlan) -> BrowserRecording:
    """Watch the page at ``url`` with the ``live`` or ``compatible`` player, in a browser of its own.

    Raises:
        playwright.sync_api.Error: if the browser does not start, or what is waited for does not come in time.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=plan.chromium, args=list(FLAGS), headless=True)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}?player={player}")
        page.wait_for_selector("#start")
        page.wait_for_function("document.querySelector('#player')?.dataset.state === 'idle'")
        page.wait_for_timeout(1000)
        page.evaluate(RECORD)
        if plan.pictures is not None:
            page.evaluate(_KEEP, [*plan.pictures, KEEP_EVERY_S, KEEP_FOR_S])
        page.fill("#prompt textarea", plan.prompts[0])
        plan.on_ready()
        started_at = page.evaluate(_NOW)
        page.click("#start")
        page.wait_for_function("window.shown.length > 0", timeout=plan.timeout_s * 1000)
        plan.on_first_picture()
        sent = _send_prompts(page, plan)
        page.wait_for_function(f"{plan.switches} in window.promptShownAt", timeout=30_000)
        shown, prompt_shown_at = page.evaluate("[window.shown, window.promptShownAt]")
        gaps = page.evaluate("document.querySelector('#player video').buffered.length - 1")
        kept = page.evaluate("window.pictures ?? []")
        page.click("#stop")
        browser.close()
    waits_s = [prompt_shown_at[str(number)] - at for number, at in enumerate(sent, 1)]
    pictures = [(second, base64.b64decode(picture)) for second, picture in kept]
    return BrowserRecording(started_at, shown, waits_s, max(0, gaps), pictures)


def summarize(player: str, recording: BrowserRecording, fps: float) -> BrowserFigures:
    """The figures of a recording of a video of ``fps`` pictures per second; ``player`` only names it."""
    shown, waits_s = recording.shown, recording.waits_s
    playing = [at for at, _ in shown[1:]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(playing)]
    pictures = {round(second * fps) for _, second in shown}
    return BrowserFigures(
        player=player,
        first_picture_s=round(shown[0][0] - recording.started_at, 3),
        seconds=round(shown[-1][0] - shown[0][0], 1),
        stalls=sum(gap > STALL_S for gap in gaps),
        longest_gap_s=round(max(gaps, default=0.0), 3),
        prompt_to_picture_s=round(statistics.median(waits_s or [0.0]), 3),
        slowest_prompt_s=round(max(waits_s, default=0.0), 3),
        pictures_shown=len(pictures),
        pictures_lost=round(1 - len(pictures) / (max(pictures) - min(pictures) + 1), 4),
    )


def _send_prompts(page: Any, plan: BrowserPlan) -> list[float]:
    """Watch, and send the prompts on the way; when each was sent, by the page's clock."""
    begun, sent = time.monotonic(), []
    for number in range(1, plan.switches + 1):
        due = begun + plan.seconds * (number - 0.5) / plan.switches
        page.wait_for_timeout(max(0.0, due - time.monotonic()) * 1000)
        page.fill("#prompt textarea", plan.prompts[number % len(plan.prompts)])
        sent.append(page.evaluate(_NOW))
        page.press("#prompt textarea", "Enter")
    page.wait_for_timeout(max(0.0, begun + plan.seconds - time.monotonic()) * 1000)
    return sent
