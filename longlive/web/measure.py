"""What a viewer gets, measured in a real browser: ``python -m longlive.web.measure URL --json``.

Chromium opens the page, presses Start, and sends prompts while it plays; each picture that reaches the screen
is noted with its time. Needs Playwright's Python package and a Chromium.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

STALL_S = 0.25
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


def measure(
    url: str,
    player: str,
    *,
    seconds: float,
    switches: int,
    fps: float = 16,
    chromium: str = "/usr/bin/chromium",
) -> Figures:
    """Watch the page at ``url`` for some seconds and send prompts at even distances.

    Args:
        url: of the running app.
        player: ``live`` or ``compatible``.
        seconds: to watch, from the first picture on.
        switches: prompts to send in that time.
        fps: of the video.
        chromium: the browser's program.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS), headless=True)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}?player={player}")
        page.wait_for_selector("#start")
        page.wait_for_function("document.querySelector('#player')?.dataset.state === 'idle'")
        page.wait_for_timeout(1000)
        page.evaluate(_RECORD)
        page.fill("#prompt textarea", PROMPTS[0])
        clicked = page.evaluate(_NOW)
        page.click("#start")
        page.wait_for_function("window.seen.length > 0", timeout=60_000)
        sent = _send_prompts(page, seconds, switches)
        page.wait_for_function(f"{switches} in window.turned", timeout=30_000)
        seen, turned = page.evaluate("[window.seen, window.turned]")
        page.click("#stop")
        browser.close()
    waits = [turned[str(number)] - at for number, at in enumerate(sent, 1)]
    return figures(player, seen, clicked, waits, fps)


def figures(player: str, seen: list[list[float]], clicked: float, waits: list[float], fps: float) -> Figures:
    """The figures of one watching.

    Args:
        player: for the record.
        seen: (time, second of the video) of each picture on the screen; before the second one nothing plays.
        clicked: when Start was clicked.
        waits: from each prompt to its first picture.
        fps: of the video.
    """
    playing = [at for at, _ in seen[1:]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(playing)]
    pictures = {round(second * fps) for _, second in seen}
    return Figures(
        player=player,
        first_picture_s=round(seen[0][0] - clicked, 3),
        seconds=round(seen[-1][0] - seen[0][0], 1),
        stalls=sum(gap > STALL_S for gap in gaps),
        longest_gap_s=round(max(gaps, default=0.0), 3),
        prompt_to_picture_s=round(statistics.median(waits or [0.0]), 3),
        slowest_prompt_s=round(max(waits, default=0.0), 3),
        pictures_shown=len(pictures),
        pictures_lost=round(1 - len(pictures) / (max(pictures) - min(pictures) + 1), 4),
    )


def _send_prompts(page: Any, seconds: float, switches: int) -> list[float]:
    """Watch for ``seconds``, with prompts on the way; when each was sent, in the page's time."""
    begun, sent = time.monotonic(), []
    for number in range(1, switches + 1):
        due = begun + seconds * (number - 0.5) / switches
        page.wait_for_timeout(max(0.0, due - time.monotonic()) * 1000)
        page.fill("#prompt textarea", PROMPTS[number % len(PROMPTS)])
        sent.append(page.evaluate(_NOW))
        page.press("#prompt textarea", "Enter")
    page.wait_for_timeout(max(0.0, begun + seconds - time.monotonic()) * 1000)
    return sent


def main(arguments: list[str] | None = None) -> None:
    """Measure both players, or one, and write a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the running app, such as http://127.0.0.1:7860/")
    parser.add_argument("--seconds", type=float, default=60, help="to watch (default 60)")
    parser.add_argument("--switches", type=int, default=10, help="prompts to send (default 10)")
    parser.add_argument("--player", choices=("live", "compatible"), help="only this one")
    parser.add_argument(
        "--chromium", default="/usr/bin/chromium", help="the browser (default /usr/bin/chromium)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    results = [
        asdict(
            measure(
                options.url,
                player,
                seconds=options.seconds,
                switches=options.switches,
                chromium=options.chromium,
            )
        )
        for player in ([options.player] if options.player else ["live", "compatible"])
    ]
    if options.json:
        sys.stdout.write(json.dumps({result.pop("player"): result for result in results}) + "\n")
    else:
        rows = [f"{name:22}" + "".join(f"{result[name]!s:>14}" for result in results) for name in results[0]]
        sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
