"""A drift curve: how similar a video stays to its first seconds, window by window (`evaluate drift`)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from longlive.errors import LongLiveError
from longlive.evaluation.statistics import Scores, mean
from longlive.evaluation.videos import network
from longlive.evaluation.videos.pixels import DEFINITIONS as PIXELS
from longlive.evaluation.videos.pixels import Descriptor, describe, pixel_scores, shrink
from longlive.evaluation.videos.reading import read_windows

REFERENCE_S = 2.0
SCORED_S = 2.0
"""Of each window, so many of its first seconds are scored by pixel_scores."""

DEFINITIONS = (
    PIXELS
    | network.DEFINITIONS
    | {
        "similarity": (
            "0-100: similarity (as in pixel_consistency) of each picture of a window to the mean "
            "description of the "
            "first seconds of the same video, mean over the window. Of other videos: see chance."
        ),
        "chance": (
            "The similarity of a video's last window to the first seconds of each other file, mean over the "
            "pairs: "
            "what no resemblance at all gives. None for a single file."
        ),
        "pixel scores of a window": f"Of its first {SCORED_S:g} s.",
        "drift": "The last window less the first, in points.",
        "curve": "The mean over the files that last so long, with its interval over files.",
    }
)


def measure_curves(
    paths: Sequence[Path],
    *,
    window_s: float,
    reference_s: float = REFERENCE_S,
    progress: Callable[[Path], None] = lambda path: None,
) -> dict[str, Any]:
    """The curve of each file and their mean; files that cannot be read are named, and the others kept.

    Args:
        paths: videos or session files, of any sizes and lengths.
        window_s: seconds of a window.
        reference_s: how many of the first seconds all others are compared with.
        progress: is given each path before it is read.
    """
    files: list[dict[str, Any]] = []
    ends: list[tuple[Descriptor, Descriptor]] = []
    failed: list[dict[str, str]] = []
    for path in paths:
        progress(path)
        try:
            windows, beginning, end = _curve(path, window_s, reference_s)
        except LongLiveError as error:
            failed.append({"file": str(path), "reason": " ".join(str(error).split())})
            continue
        files.append({"file": str(path), "windows": windows, "drift": _drift(windows)})
        ends.append((beginning, end))
    return {
        "window_s": window_s,
        "reference_s": reference_s,
        "files": files,
        "failed": failed,
        "curve": _mean_curve([one["windows"] for one in files]),
        "drift": mean([one["drift"] for one in files]).as_json(),
        "chance": _chance(ends),
    }


def _curve(path: Path, window_s: float, reference_s: float) -> tuple[list[Scores], Descriptor, Descriptor]:
    """The scores of each window, what the first seconds look like, and what the last window does."""
    reference: Descriptor | None = None
    scores: list[Scores] = []
    for window in read_windows(path, window_s):
        seen = describe(shrink(window.pictures))
        if reference is None:
            reference = seen.part(slice(0, max(1, round(reference_s * window.fps)))).mean()
        similarity = float(seen.similarity(reference).mean())
        scored = window.pictures[: max(3, round(SCORED_S * window.fps))]
        own = pixel_scores(scored, window.fps) | network.network_scores(scored, window.fps)
        scores.append({"from_s": window.start_s, "similarity": similarity} | own)
    assert reference is not None  # read_windows raises if there is no window
    return [{name: round(value, 3) for name, value in row.items()} for row in scores], reference, seen


def _drift(windows: Sequence[Mapping[str, float]]) -> float:
    return round(windows[-1]["similarity"] - windows[0]["similarity"], 3)


def _mean_curve(curves: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    times = sorted({window["from_s"] for windows in curves for window in windows})
    return [{"from_s": time} | {"similarity": mean(_at(curves, time)).as_json()} for time in times]


def _at(curves: Iterable[Sequence[Mapping[str, float]]], time: float) -> list[float]:
    return [window["similarity"] for windows in curves for window in windows if window["from_s"] == time]


def _chance(ends: Sequence[tuple[Descriptor, Descriptor]]) -> float | None:
    pairs = [
        float(end.similarity(beginning).mean())
        for i, (beginning, _) in enumerate(ends)
        for j, (_, end) in enumerate(ends)
        if i != j
    ]
    return round(sum(pairs) / len(pairs), 3) if pairs else None
