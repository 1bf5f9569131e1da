"""Table 4 of the paper: what the three ways to switch prompts do to consistency and obedience."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longlive.evaluation import consistency
from longlive.evaluation.obedience import ATTRIBUTES, Trial
from longlive.evaluation.statistics import Estimate, beats, difference, estimate
from longlive.evaluation.stories import StreamTeller, changed, draw_switches, true_story
from longlive.evaluation.subject import look
from longlive.evaluation.workers import in_workers, models_in
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
        "no_cache: a cut, memory and decoder begin anew; keep_cache: only the prompt changes; recache: the "
        "memory is made anew under the new prompt. Each goes on from the same stories, seeds and pictures."
    ),
    "subject_consistency at a switch": (
        "Colour and shape: the last 1.5 s before it against what comes from 0.75 s after it on. Place and "
        "area: from 0.5 s before it to 1 s after it. Stories in which the action alone changes."
    ),
    "background_consistency at a switch": (
        "The last second before it against the last second told. Stories that stay in their setting."
    ),
    "obeyed_within_2.25s": (
        "% of stories in which the oracle reads every attribute that the new prompt changed as it was asked "
        "for, in the pictures from 0.75 to 2.25 s after the switch."
    ),
    "obeyed_after": "The same, in the pictures from 2.25 s after the switch to the end.",
    "all_after": "% of stories in which every attribute is read as asked for in those pictures.",
    "ceiling": "The same scores of the true pictures of the same stories that went through the codec.",
    "of_ceiling": "The score over its ceiling.",
    "order": "Whether the intervals say so without overlap.",
}

SHOWN_STORY = 4
SHOWN_SECONDS = (-1.0, -0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 3.25)

Scores = dict[str, float]
Batch = tuple[Path, list[Trial], int]


def compare_strategies(
    models: ModelBundle, *, num_prompts: int, seed: int, num_workers: int
) -> dict[str, Any]:
    """Scores in [0, 100] of each strategy and of the truth, and the paired differences of the strategies."""
    trials = draw_switches(num_prompts, seed)
    batches: list[Batch] = [
        (models.folder, trials[i : i + BATCH], seed * 100_003 + i) for i in range(0, num_prompts, BATCH)
    ]
    told = [story for batch in in_workers(_tell, batches, num_workers, "stories") for story in batch]
    settings = [trial.scene.setting for trial in trials]
    codec = consistency.codec_changes([story["truth"] for story in told], settings)
    columns = {
        name: _columns(
            [consistency.scaled(story[name], codec[s]) for story, s in zip(told, settings, strict=True)]
        )
        for name in (*STRATEGIES, "truth")
    }
    rows = {name: {part: estimate(values) for part, values in row.items()} for name, row in columns.items()}
    return {
        "strategies": {
            name: {"switch": mode} | {part: _of(rows[name][part], rows["truth"][part]) for part in rows[name]}
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
def _tell(batch: Batch) -> list[dict[str, Scores]]:
    """The scores of each story after each strategy, and of its truth."""
    folder, trials, first_seed = batch
    models, seeds = models_in(folder), range(first_seed, first_seed + len(trials))
    teller = StreamTeller(models, [trial.prompt for trial in trials], seeds)
    before = teller.tell(CHUNKS_BEFORE)
    told: list[dict[str, Scores]] = [{} for _ in trials]
    for name, mode in STRATEGIES.items():
        branch = teller.branch()
        branch.switch([trial.turned_prompt for trial in trials], mode)
        after = branch.tell(CHUNKS_AFTER)
        for story, trial, first, second in zip(told, trials, before, after, strict=True):
            story[name] = measure(first, second, trial)
    for story, trial, seed in zip(told, trials, seeds, strict=True):
        parts = [(trial.scene, TRUE_FRAMES_BEFORE), (trial.turned, FRAMES_AFTER)]
        pictures = true_story(models.vae, parts, seed)
        story["truth"] = measure(pictures[:TRUE_FRAMES_BEFORE], pictures[TRUE_FRAMES_BEFORE:], trial)
    return told


@torch.no_grad()
def picture_strips(models: ModelBundle, *, seed: int) -> tuple[Trial, dict[str, Tensor]]:
    """The first story that changes its colour, under each strategy.

    Returns:
        The story, and by strategy its pictures at ``SHOWN_SECONDS`` from the switch: uint8 (N, 3, H, W).
    """
    trial = draw_switches(SHOWN_STORY + 1, seed)[SHOWN_STORY]
    teller, strips = StreamTeller(models, [trial.prompt], [seed * 100_003 + SHOWN_STORY]), {}
    before = teller.tell(CHUNKS_BEFORE)[0]
    shown = [len(before) + int(seconds * FPS) for seconds in SHOWN_SECONDS]
    for name, mode in STRATEGIES.items():
        branch = teller.branch()
        branch.switch([trial.turned_prompt], mode)
        strips[name] = torch.cat([before, branch.tell(CHUNKS_AFTER)[0]])[shown]
    return trial, strips


def measure(before: Tensor, after: Tensor, trial: Trial) -> Scores:
    """The scores that apply to one story, in [0, 100], and its ``background_change``.

    Args:
        before, after: uint8 (F, 3, H, W), the pictures up to the switch and from it on.
        trial: what was asked for.
    """
    changes, scores = changed(trial), Scores()
    promptly, afterwards = read(after[PROMPTLY]), read(after[AFTERWARDS])
    scores["obeyed_within_2.25s"] = _obeys(promptly, trial.turned, changes)
    scores["obeyed_after"] = _obeys(afterwards, trial.turned, changes)
    scores["all_after"] = _obeys(afterwards, trial.turned, ATTRIBUTES)
    if changes == ("action",):
        first, later = look(before[-3 * FPS // 2 :]), look(after[PROMPTLY.start :])
        way = look(torch.cat([before[-FPS // 2 :], after[:FPS]]))
        scores |= consistency.subject_consistency(first, later, way).as_scores()
    if "setting" not in changes:
        scores[consistency.CHANGE] = consistency.background_change(before[-FPS:], after[-FPS:])
    return scores


def _obeys(reading: Reading, scene: Scene, attributes: Sequence[str]) -> float:
    return 100.0 * all(getattr(reading, name) == getattr(scene, name) for name in attributes)


def _columns(stories: Sequence[Scores]) -> dict[str, list[float | None]]:
    """Each score's values over the stories; None where it does not apply."""
    names = dict.fromkeys(name for story in stories for name in story)
    return {name: [story.get(name) for story in stories] for name in names}


def _of(figure: Estimate, ceiling: Estimate) -> dict[str, Any]:
    share = figure.value / ceiling.value if figure.value is not None and ceiling.value else None
    return figure.as_json() | {"of_ceiling": None if share is None else round(share, 4)}


def _order(rows: dict[str, dict[str, Estimate]]) -> dict[str, bool]:
    """What the paper found, as far as these intervals bear it out."""
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
