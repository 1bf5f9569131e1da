"""VBench's dimensions, and how its authors aggregate them (arXiv:2311.17982, scripts/constant.py)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longlive.errors import ConfigError, reason_of
from longlive.files import read_text

QUALITY = (
    "subject_consistency",
    "background_consistency",
    "temporal_flickering",
    "motion_smoothness",
    "aesthetic_quality",
    "imaging_quality",
    "dynamic_degree",
)
SEMANTIC = (
    "object_class",
    "multiple_objects",
    "human_action",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "temporal_style",
    "overall_consistency",
)
"""These need videos of VBench's own prompts."""
RANGES = {
    "subject_consistency": (0.1462, 1.0),
    "background_consistency": (0.2615, 1.0),
    "temporal_flickering": (0.6293, 1.0),
    "motion_smoothness": (0.706, 0.9975),
    "scene": (0.0, 0.8222),
    "appearance_style": (0.0009, 0.2855),
    "temporal_style": (0.0, 0.364),
    "overall_consistency": (0.0, 0.364),
}
"""Least and most of a dimension, where they are not 0 and 1."""
WEIGHTS = {"dynamic_degree": 0.5}
"""Of a dimension within its group, where it is not 1."""
QUALITY_WEIGHT, SEMANTIC_WEIGHT = 4, 1

DEFINITIONS = {
    "scores": "What VBench's code returned for each dimension; imaging_quality by 100 where it came in "
    "percent.",
    "normalised": "(score - least) / (most - least), with the published constants.",
    "quality, semantic": "The mean of the normalised dimensions of the group; dynamic_degree weighs one "
    "half.",
    "total": "(4 quality + semantic) / 5. Only of a complete set.",
    "partial": "Some dimensions of the group are missing: its mean is over the others, and comparable "
    "with no "
    "published number.",
}


def aggregate(scores: Mapping[str, float]) -> dict[str, Any]:
    """The normalised scores, the means of both groups and, of a complete set, the total; all in [0, 1]."""
    scores = {
        name: value / 100 if name == "imaging_quality" and value > 1 else value
        for name, value in scores.items()
    }
    normalised = {name: normalise(name, value) for name, value in scores.items()}
    groups = {
        name: _mean(names, normalised) for name, names in (("quality", QUALITY), ("semantic", SEMANTIC))
    }
    missing = [name for name in (*QUALITY, *SEMANTIC) if name not in scores]
    total = None
    if not missing and groups["quality"] is not None and groups["semantic"] is not None:
        weighted = QUALITY_WEIGHT * groups["quality"] + SEMANTIC_WEIGHT * groups["semantic"]
        total = round(weighted / (QUALITY_WEIGHT + SEMANTIC_WEIGHT), 4)
    return {
        "scores": {name: round(value, 4) for name, value in scores.items()},
        "normalised": {name: round(value, 4) for name, value in normalised.items()},
        "quality": groups["quality"],
        "quality_is_partial": any(name in missing for name in QUALITY),
        "semantic": groups["semantic"],
        "semantic_is_partial": any(name in missing for name in SEMANTIC),
        "total": total,
        "missing": missing,
    }


def read_totals(option: str, path: Path) -> dict[str, Any]:
    """The means and the total of a result that ``evaluate vbench --out`` wrote, and of what videos.

    Raises:
        ConfigError: if the file cannot be read, or is no such result; it names ``option``.
    """
    names = ("total", "quality", "quality_is_partial", "semantic", "semantic_is_partial", "videos", "mode")
    try:
        result = json.loads(read_text(path))["result"]
        return {name: result[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = f"it must be a file that evaluate vbench --out wrote ({reason_of(error)})"
        raise ConfigError(option, str(path), rule, "Correct its name.") from error


def normalise(name: str, value: float) -> float:
    """A score between the published extremes of its dimension."""
    least, most = RANGES.get(name, (0.0, 1.0))
    return (value - least) / (most - least)


def _mean(names: tuple[str, ...], normalised: Mapping[str, float]) -> float | None:
    there = [name for name in names if name in normalised]
    weight = sum(WEIGHTS.get(name, 1.0) for name in there)
    return (
        round(sum(normalised[name] * WEIGHTS.get(name, 1.0) for name in there) / weight, 4) if there else None
    )
