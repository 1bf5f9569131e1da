"""Table 4 of the paper: consistency and obedience of the three switch strategies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longlive.evaluation import consistency
from longlive.evaluation.statistics import Estimate, Scores, beats, difference, estimate
from longlive.evaluation.stream import BatchStream
from longlive.evaluation.subject import observe_subject
from longlive.evaluation.trials import ATTRIBUTES, Trial, changed_attributes, draw_switches, true_pictures
from longlive.evaluation.workers import cached_models, map_in_workers
from longlive.models.bundle import ModelBundle
from longlive.storybook.dataset import frames_before
from longlive.storybook.world.drawing import FPS, Scene
from longlive.storybook.world.oracle import Reading, read

STRATEGIES = {"no_cache": "hard", "keep_cache": "keep", "recache": "soft"}
BATCH = 6
CHUNKS_BEFORE, CHUNKS_AFTER = 5, 6
FRAMES_AFTER = frames_before(CHUNKS_BEFORE + CHUNKS_AFTER) - frames_before(CHUNKS_BEFORE)
TRUE_FRAMES_BEFORE = frames_before(3)
PROMPTLY, AFTERWARDS = slice(3 * FPS // 4, 9 * FPS // 4), slice(9 * FPS // 4, None)

DEFINITIONS = consistency.DEFINITIONS | {
    "strategies": (
        "no_cache: cache and decoder are reset; keep_cache: only the prompt changes; recache: the cache is "
        "recomputed under the new prompt. All continue the same videos, with the same seeds."
    ),
    "subject_consistency at a switch": (
        "Colour and shape: the last 1.5 s before it against what comes from 0.75 s after it on. Place and "
        "area: from 0.5 s before it to 1 s after it. Trials in which the action alone changes."
    ),
    "background_consistency at a switch": (
        "The last second before it against the last second. Trials that stay in their setting."
    ),
    "obeyed_within_2.25s": (
        "% of trials in which the oracle reads every attribute that the new prompt changed as it was asked "
        "for, in the pictures from 0.75 to 2.25 s after the switch."
    ),
    "obeyed_after": "The same, in the pictures from 2.25 s after the switch to the end.",
    "all_after": "% of trials in which every attribute is read as asked for in those pictures.",
    "ceiling": "The same scores of the true pictures of the same trials through the codec.",
    "of_ceiling": "The score over its ceiling.",
    "order": "Whether the intervals say so without overlap.",
}

SHOWN_TRIAL = 4
SHOWN_SECONDS = (-1.0, -0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 3.25)


class SwitchTask(NamedTuple):
    """Trials that are generated as one batch, of which model, and the seed of the first."""

    folder: Path
    trials: list[Trial]
    first_seed: int


def compare_strategies(
    models: ModelBundle, *, num_prompts: int, seed: int, num_workers: int
) -> dict[str, Any]:
    """Scores in [0, 100] of each strategy and of the truth, and paired differences of the strategies."""
    trials = draw_switches(num_prompts, seed)
    tasks = [
        SwitchTask(models.folder, trials[i : i + BATCH], seed * 100_003 + i)
        for i in range(0, num_prompts, BATCH)
    ]
    found = [row for batch in map_in_workers(_score_trials, tasks, num_workers, "trials") for row in batch]
    settings = [trial.scene.setting for trial in trials]
    codec = consistency.codec_changes([row["truth"] for row in found], settings)
    columns = {
        name: _columns(
            [consistency.scaled(row[name], codec[s]) for row, s in zip(found, settings, strict=True)]
        )
        for name in (*STRATEGIES, "truth")
    }
    rows = {name: {part: estimate(values) for part, values in row.items()} for name, row in columns.items()}
    return {
        "strategies": {
            name: {"switch": mode}
            | {part: _beside_ceiling(rows[name][part], rows["truth"][part]) for part in rows[name]}
            for name, mode in STRATEGIES.items()
        },
        "ceiling": {part: figure.as_json() for part, figure in rows["truth"].items()},
        "differences": {
            f"recache - {other}": {
                part: difference(values, columns[other][part]).as_json()
                for part, values in columns["recache"].items()
            }
            for other in ("keep_cache", "no_cache")
        },
        "order": _order(rows),
    }


@torch.no_grad()
def _score_trials(task: SwitchTask) -> list[dict[str, Scores]]:
    """The scores of each trial by strategy, and of its true pictures (``truth``)."""
    folder, trials, first_seed = task
    models, seeds = cached_models(folder), range(first_seed, first_seed + len(trials))
    stream = BatchStream(models, [trial.prompt for trial in trials], seeds)
    before = stream.next_pictures(CHUNKS_BEFORE)
    scores: list[dict[str, Scores]] = [{} for _ in trials]
    for name, mode in STRATEGIES.items():
        branch = stream.branch()
        branch.switch([trial.turned_prompt for trial in trials], mode)
        after = branch.next_pictures(CHUNKS_AFTER)
        for row, trial, first, second in zip(scores, trials, before, after, strict=True):
            row[name] = measure(first, second, trial)
    for row, trial, seed in zip(scores, trials, seeds, strict=True):
        parts = [(trial.scene, TRUE_FRAMES_BEFORE), (trial.turned, FRAMES_AFTER)]
        pictures = true_pictures(models.vae, parts, seed)
        row["truth"] = measure(pictures[:TRUE_FRAMES_BEFORE], pictures[TRUE_FRAMES_BEFORE:], trial)
    return scores


@torch.no_grad()
def picture_strips(models: ModelBundle, *, seed: int) -> tuple[Trial, dict[str, Tensor]]:
    """The first trial that changes the colour, under each strategy.

    Returns:
        The trial, and by strategy its pictures at ``SHOWN_SECONDS`` from the switch: uint8 (N, 3, H, W).
    """
    trial = draw_switches(SHOWN_TRIAL + 1, seed)[SHOWN_TRIAL]
    stream, strips = BatchStream(models, [trial.prompt], [seed * 100_003 + SHOWN_TRIAL]), {}
    before = stream.next_pictures(CHUNKS_BEFORE)[0]
    positions = [len(before) + int(seconds * FPS) for seconds in SHOWN_SECONDS]
    for name, mode in STRATEGIES.items():
        branch = stream.branch()
        branch.switch([trial.turned_prompt], mode)
        strips[name] = torch.cat([before, branch.next_pictures(CHUNKS_AFTER)[0]])[positions]
    return trial, strips


def measure(before: Tensor, after: Tensor, trial: Trial) -> Scores:
    """The scores that apply to a trial, in [0, 100], and its ``background_change``.

    Args:
        before, after: uint8 (F, 3, H, W), the pictures before the switch and after it.
        trial: what was asked for.
    """
    changes, scores = changed_attributes(trial), Scores()
    promptly, afterwards = read(after[PROMPTLY]), read(after[AFTERWARDS])
    scores["obeyed_within_2.25s"] = _obeys(promptly, trial.turned, changes)
    scores["obeyed_after"] = _obeys(afterwards, trial.turned, changes)
    scores["all_after"] = _obeys(afterwards, trial.turned, ATTRIBUTES)
    if changes == ("action",):
        first, later = observe_subject(before[-3 * FPS // 2 :]), observe_subject(after[PROMPTLY.start :])
        across = observe_subject(torch.cat([before[-FPS // 2 :], after[:FPS]]))
        scores |= consistency.subject_consistency(first, later, across).as_scores()
    if "setting" not in changes:
        scores[consistency.CHANGE] = consistency.background_change(before[-FPS:], after[-FPS:])
    return scores


def _obeys(reading: Reading, scene: Scene, attributes: Sequence[str]) -> float:
    return 100.0 * all(getattr(reading, name) == getattr(scene, name) for name in attributes)


def _columns(rows: Sequence[Scores]) -> dict[str, list[float | None]]:
    """Each score's values over the trials; None where it does not apply."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _beside_ceiling(figure: Estimate, ceiling: Estimate) -> dict[str, Any]:
    share = figure.value / ceiling.value if figure.value is not None and ceiling.value else None
    return figure.as_json() | {"of_ceiling": None if share is None else round(share, 4)}


def _order(rows: dict[str, dict[str, Estimate]]) -> dict[str, bool]:
    """The paper's findings, each with whether these intervals confirm it."""
    claims = [
        ("keep_cache", "obeyed_within_2.25s"),
        ("keep_cache", "obeyed_after"),
        ("no_cache", "subject_consistency"),
        ("no_cache", "background_consistency"),
    ]
    return {
        f"recache above {other} in {part}": beats(rows["recache"][part], rows[other][part])
        for other, part in claims
        if part in rows["recache"]
    }
