"""What a viewer gets, measured in a real browser: ``python -m longlive measure URL --json``.

Chromium opens the page, presses Start, and sends prompts while it plays; each picture that reaches the screen
is noted with its time. Needs Playwright's Python package and a Chromium.
"""

import argparse
import base64
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

STALL_S = 0.25
TIMEOUT_S = 60.0
PICTURES_EVERY_S = 6.0
PICTURES_FOR_S = 0.75
CHROMIUM = "/usr/bin/chromium"
PROMPTS = ("a red ball stands on a green meadow", "a red ball jumps on a green meadow")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
)

# Notes [time, picture] of everything shown, whichever video element plays.
_RECORD = """() => {
  window.seen = [];
  const known = new WeakSet();
  const host = document.querySelector('#player');
  const watch = (video) => {
    known.add(video);
    const note = (now, meta) => {
      window.seen.push([performance.now() / 1000, meta.mediaTime]);
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
  };
  const find = () => document.querySelectorAll('#player video, #compatible video')
    .forEach((video) => known.has(video) || watch(video));
  setInterval(find, 50);
  find();
  window.turned = {};
  new MutationObserver(() => { window.turned[host.dataset.prompt] ??= performance.now() / 1000; })
    .observe(host, { attributeFilter: ['data-prompt'] });
}"""
_NOW = "performance.now() / 1000"

# Keeps what is on the screen, small: some pictures in a row, every few seconds of the video.
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


def _nothing() -> None:
    """Nobody waits for that."""


@dataclass(frozen=True)
class Watch:
    """How to watch.

    Attributes:
        seconds: from the first picture on.
        switches: prompts to send in that time, at even distances.
        prompts: the first of them, and then those to send, from the beginning again when all were sent.
        fps: of the video.
        chromium: the browser's program.
        patience_s: how long the first picture may take.
        pictures: width and height of the pictures to keep, if the video has that shape; None for none.
        ready, began: called when the page is open, and when the first picture is there.
    """

    seconds: float
    switches: int
    prompts: Sequence[str] = PROMPTS
    fps: float = 16
    chromium: str = CHROMIUM
    patience_s: float = TIMEOUT_S
    pictures: tuple[int, int] | None = None
    ready: Callable[[], None] = _nothing
    began: Callable[[], None] = _nothing


@dataclass(frozen=True)
class ViewerMetrics:
    """What was seen.

    Attributes:
        clicked: when Start was clicked, in the page's time.
        seen: (time, second of the video) of each picture on the screen; before the second one nothing plays.
        waits: from each prompt to its first picture.
        holes: in the video that the browser has.
        pictures: kept ones, (second of the video, RGB bytes).
    """

    clicked: float
    seen: list[list[float]]
    waits: list[float]
    holes: int = 0
    pictures: list[tuple[float, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
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


def watch(url: str, player: str, how: Watch) -> ViewerMetrics:
    """Watch the page at ``url`` with the ``live`` or ``compatible`` player in a browser of one's own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=how.chromium, args=list(FLAGS), headless=True)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}?player={player}")
        page.wait_for_selector("#start")
        page.wait_for_function("document.querySelector('#player')?.dataset.state === 'idle'")
        page.wait_for_timeout(1000)
        page.evaluate(_RECORD)
        if how.pictures is not None:
            page.evaluate(_KEEP, [*how.pictures, PICTURES_EVERY_S, PICTURES_FOR_S])
        page.fill("#prompt textarea", how.prompts[0])
        how.ready()
        clicked = page.evaluate(_NOW)
        page.click("#start")
        page.wait_for_function("window.seen.length > 0", timeout=how.patience_s * 1000)
        how.began()
        sent = _send_prompts(page, how)
        page.wait_for_function(f"{how.switches} in window.turned", timeout=30_000)
        seen, turned = page.evaluate("[window.seen, window.turned]")
        holes = page.evaluate("document.querySelector('#player video').buffered.length - 1")
        kept = page.evaluate("window.pictures ?? []")
        page.click("#stop")
        browser.close()
    waits = [turned[str(number)] - at for number, at in enumerate(sent, 1)]
    pictures = [(second, base64.b64decode(picture)) for second, picture in kept]
    return ViewerMetrics(clicked, seen, waits, max(0, holes), pictures)


def figures(player: str, watching: ViewerMetrics, fps: float) -> Figures:
    """The figures of one watching of a video of ``fps`` pictures per second; ``player`` is for the record."""
    seen, waits = watching.seen, watching.waits
    playing = [at for at, _ in seen[1:]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(playing)]
    pictures = {round(second * fps) for _, second in seen}
    return Figures(
        player=player,
        first_picture_s=round(seen[0][0] - watching.clicked, 3),
        seconds=round(seen[-1][0] - seen[0][0], 1),
        stalls=sum(gap > STALL_S for gap in gaps),
        longest_gap_s=round(max(gaps, default=0.0), 3),
        prompt_to_picture_s=round(statistics.median(waits or [0.0]), 3),
        slowest_prompt_s=round(max(waits, default=0.0), 3),
        pictures_shown=len(pictures),
        pictures_lost=round(1 - len(pictures) / (max(pictures) - min(pictures) + 1), 4),
    )


def _send_prompts(page: Any, how: Watch) -> list[float]:
    """Watch for a while, with prompts on the way; when each was sent, in the page's time."""
    begun, sent = time.monotonic(), []
    for number in range(1, how.switches + 1):
        due = begun + how.seconds * (number - 0.5) / how.switches
        page.wait_for_timeout(max(0.0, due - time.monotonic()) * 1000)
        page.fill("#prompt textarea", how.prompts[number % len(how.prompts)])
        sent.append(page.evaluate(_NOW))
        page.press("#prompt textarea", "Enter")
    page.wait_for_timeout(max(0.0, begun + how.seconds - time.monotonic()) * 1000)
    return sent


def main(arguments: list[str] | None = None) -> None:
    """Measure both players, or one, and write a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the running app, such as http://127.0.0.1:7860/")
    parser.add_argument("--seconds", type=float, default=60, help="to watch (default 60)")
    parser.add_argument("--switches", type=int, default=10, help="prompts to send (default 10)")
    parser.add_argument("--player", choices=("live", "compatible"), help="only this one")
    parser.add_argument("--chromium", default=CHROMIUM, help=f"the browser (default {CHROMIUM})")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    how = Watch(options.seconds, options.switches, chromium=options.chromium)
    results = [
        asdict(figures(player, watch(options.url, player, how), how.fps))
        for player in ([options.player] if options.player else ["live", "compatible"])
    ]
    if options.json:
        sys.stdout.write(json.dumps({result.pop("player"): result for result in results}) + "\n")
    else:
        rows = [f"{name:22}" + "".join(f"{result[name]!s:>14}" for result in results) for name in results[0]]
        sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
