"""Plots of the tables (matplotlib): values with their intervals, or strips of pictures."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.errors import MediaError, reason_of
from longlive.files import atomic_write, has_suffix

if TYPE_CHECKING:
    from torch import Tensor

    from longlive.evaluation.trials import Trial

COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0e7490")
GREY = "#64748b"


def check_target(path: Path) -> None:
    """Raise MediaError, before the measurement starts, if a plot cannot be drawn, or is not named as one."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MediaError("--figure needs matplotlib, which is missing. pip install matplotlib.") from error
    if not has_suffix(path, ".png"):
        raise MediaError(f"--figure is {path}, but it must end in .png. Correct it.")


def draw_strategies(
    trial: "Trial", strips: "Mapping[str, Tensor]", seconds: Sequence[float], path: Path
) -> None:
    """Table 4 in pictures: a strip (N, 3, H, W) per strategy, ``seconds`` (N,) from the switch."""
    from matplotlib.figure import Figure

    height = 1.05 * len(strips) + 0.55
    figure = Figure(figsize=(1.5 * len(seconds), height), layout="constrained")
    grid = figure.subplots(len(strips), len(seconds), squeeze=False)
    for row, (name, pictures) in zip(grid, strips.items(), strict=True):
        row[0].set_ylabel(name.replace("_", " "), fontsize=9)
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture.permute(1, 2, 0).numpy())
            axes.set(xticks=[], yticks=[])
    for axes, second in zip(grid[0], seconds, strict=True):
        axes.set_title(f"{second:+g} s", fontsize=9, color=GREY if second < 0 else "black")
    figure.suptitle(f"{trial.prompt}  →  {trial.turned_prompt}", fontsize=9)
    _save(figure, path)


def draw_ranks(result: Mapping[str, Any], path: Path) -> None:
    """Table A: scores of each run before and after a switch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, part in zip(panels, ("before", "after"), strict=True):
        names = list(result["runs"][0][part])
        for i, (colour, run) in enumerate(zip(itertools.cycle(COLOURS), result["runs"], strict=False)):
            figures = [run[part][name] for name in names]
            across = [number + 0.12 * (i - (len(result["runs"]) - 1) / 2) for number in range(len(names))]
            spread = [
                [f["value"] - f["ci_low"] for f in figures],
                [f["ci_high"] - f["value"] for f in figures],
            ]
            axes.errorbar(across, [f["value"] for f in figures], spread, fmt="o", color=colour, markersize=3)
            axes.plot([], [], "o", color=colour, markersize=3, label=str(run["rank"]))
        _style_axes(axes, f"{part} a switch, %", "")
        axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=7)
    panels[0].legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_windows(result: Mapping[str, Any], path: Path) -> None:
    """Figure 7: subject consistency, milliseconds per chunk and cache against the window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    score, time, memory = figure.subplots(1, 3)
    for colour, sink in zip(COLOURS, sorted({row["sink"] for row in result["windows"]}), strict=False):
        rows = [row for row in result["windows"] if row["sink"] == sink]
        windows, label = [row["window"] for row in rows], _sink(rows[0])
        _band(score, windows, [row["subject_consistency"] for row in rows], colour, label)
        time.plot(windows, [row["cpu_ms"] for row in rows], "o-", markersize=3, color=colour)
        cache = [row["cache_bytes"] / 2**20 for row in rows]
        memory.plot(windows, cache, "o-" if sink else "o--", markersize=3, color=colour)
    ceiling = result["ceiling"]["subject_consistency"]["value"]
    score.axhline(ceiling, color=GREY, linestyle=":", label="truth through the codec")
    for axes, title in (
        (score, f"Subject consistency over {result['seconds']:g} s"),
        (time, "Processor milliseconds per chunk"),
        (memory, "Cache, MiB"),
    ):
        _style_axes(axes, title, "window, latent frames")
        axes.set_xticks(sorted({row["window"] for row in result["windows"]}))
    for axes in (time, memory):
        axes.set_ylim(bottom=0)
    score.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_drift(result: Mapping[str, Any], path: Path) -> None:
    """Drift: attributes read as asked for and subject consistency of each run over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, title in zip(
        panels,
        ("all_attributes", "subject_consistency"),
        ("All attributes as asked for, %", "Subject consistency"),
        strict=True,
    ):
        for colour, run in zip(COLOURS, result["runs"], strict=False):
            minutes = [window["from"] / 60 for window in run["windows"]]
            label = f"{run['model']}, {_sink(run)}"
            _band(axes, minutes, [window[name] for window in run["windows"]], colour, label)
        _style_axes(axes, title, "minutes")
    panels[0].legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_curves(result: Mapping[str, Any], path: Path) -> None:
    """Drift of any videos: similarity to the first seconds of each, and the mean with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    files = result["files"]
    for colour, one in zip(itertools.cycle(COLOURS[1:]), files, strict=False):
        minutes = [window["from_s"] / 60 for window in one["windows"]]
        label = Path(one["file"]).name if len(files) <= len(COLOURS) else None
        values = [window["similarity"] for window in one["windows"]]
        axes.plot(minutes, values, color=colour, linewidth=1, label=label)
    if len(files) > 1:
        minutes = [point["from_s"] / 60 for point in result["curve"]]
        _band(axes, minutes, [point["similarity"] for point in result["curve"]], COLOURS[0], "mean")
    if result["chance"] is not None:
        axes.axhline(result["chance"], color=GREY, linestyle=":", label="other videos")
    _style_axes(axes, f"Similarity to the first {result['reference_s']:g} s", "minutes")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def _band(
    axes: Any, x: Sequence[float], figures: Sequence[Mapping[str, Any]], colour: str, label: str
) -> None:
    """A line through the values, and the intervals as a band around it."""
    axes.plot(x, [f["value"] for f in figures], "o-", markersize=3, color=colour, label=label)
    low, high = [f["ci_low"] for f in figures], [f["ci_high"] for f in figures]
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _sink(run: Mapping[str, Any]) -> str:
    return f"sink {run['sink']}" if run["sink"] else "no sink"


def _style_axes(axes: Any, title: str, across: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(across)
    axes.grid(axis="y", color="#e2e8f0")
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    try:
        with atomic_write(path) as part:
            figure.savefig(part, dpi=130, format="png")
    except OSError as error:
        cure = "Free some space, or choose another."
        raise MediaError(f"{path} cannot be written ({reason_of(error)}). {cure}") from error
