"""How well the stand-ins part clips from the same clips broken (`evaluate standins`)."""

from typing import Any

from longlive.evaluation.statistics import Scores, estimate, mean
from longlive.evaluation.videos import network, pixels
from longlive.evaluation.videos.broken_clips import BREAKS, FPS, KINDS
from longlive.evaluation.workers import map_in_workers

BETTER = {
    "shuffled": ("pixel_smoothness", 1),
    "mixed": ("pixel_consistency", 1),
    "frozen": ("pixel_motion", 1),
    "noisy": ("pixel_flicker", -1),
    "jittered": ("pixel_smoothness", 1),
}
"""The stand-in that is to see each defect, and its sign: 1 if the good clip has more of it."""

DEFINITIONS = (
    pixels.DEFINITIONS
    | network.DEFINITIONS
    | {
        "clips": "Made by this program: drawn scenes, and textures with a photograph's spectrum under a "
        "moving camera.",
        "paired": (
            "% of clips whose score is better than that of the same clip broken. Chance 50, ceiling "
            "100; equal "
            "scores count as lost."
        ),
        "unpaired": (
            "% of pairs of a good and any broken clip of its kind in which the good one is better (the area "
            "under "
            "the curve). Chance 50, ceiling 100; lower than paired where clips differ more than the defect."
        ),
        "scores": "Means over the clips, good ones and by defect.",
    }
)
CHANCE, CEILING = 50.0, 100.0


def judge_standins(*, num_clips: int, seed: int, num_workers: int) -> dict[str, Any]:
    """Of each kind of clip: shares in [0, 100] by defect, and the mean scores.

    Args:
        num_clips: of each kind, at least 2.
        seed: of the clips.
        num_workers: processes.
    """
    tasks = [
        (kind, seed * 1000 + number, num_clips, seed * 1000) for kind in KINDS for number in range(num_clips)
    ]
    found = list(map_in_workers(_score_clip, tasks, num_workers, "clips"))
    kinds = {kind: found[i * num_clips : (i + 1) * num_clips] for i, kind in enumerate(KINDS)}
    return {
        "chance": CHANCE,
        "ceiling": CEILING,
        "kinds": [{"kind": kind} | _summary(rows) for kind, rows in kinds.items()],
    }


def _score_clip(task: tuple[str, int, int, int]) -> dict[str, Scores]:
    """The scores of a clip and of it broken, by defect."""
    kind, number, count, first = task
    clip = KINDS[kind](number)
    other = KINDS[kind](first + (number - first + 1) % count)
    made = {"good": clip} | {name: broken(clip, other, number) for name, broken in BREAKS.items()}
    return {
        name: pixels.pixel_scores(pictures, FPS) | network.network_scores(pictures, FPS)
        for name, pictures in made.items()
    }


def _summary(rows: list[dict[str, Scores]]) -> dict[str, Any]:
    defects = {}
    judges = list(BETTER.items())
    if network.NAME in rows[0]["good"]:
        judges.append(("mixed, by the network", (network.NAME, 1)))
    for title, (score, sign) in judges:
        defect = title.partition(",")[0]
        good = [sign * row["good"][score] for row in rows]
        broken = [sign * row[defect][score] for row in rows]
        wins = [100.0 * (own > other) for own, other in zip(good, broken, strict=True)]
        won = [100 * sum(own > other for other in broken) / len(broken) for own in good]
        defects[title] = {
            "by": score,
            "paired": estimate(wins).as_json(),
            "unpaired": estimate(won).as_json(),
        }
    scores = {
        name: {score: mean([row[name][score] for row in rows]).as_json() for score in rows[0]["good"]}
        for name in rows[0]
    }
    return {"defects": defects, "scores": scores}
