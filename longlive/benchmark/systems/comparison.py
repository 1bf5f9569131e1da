"""Table 1 as a whole: every row in turn, several times, and the ratios to LongLive."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from longlive.benchmark.systems import engine, pipelines
from longlive.benchmark.systems.checkout_runs import Checkout, measure_checkout, missing
from longlive.benchmark.systems.counting import count_system
from longlive.benchmark.systems.facts import REFERENCE, SYSTEMS, System
from longlive.benchmark.systems.measurement import Measurement
from longlive.errors import LongLiveError
from longlive.runtime.memory import release
from longlive.runtime.startup import RuntimeOptions

logger = logging.getLogger(__name__)
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        names: of the systems, in order.
        options: device, dtype and what else our engine is run with.
        repeats: how often all rows are measured, in turn.
        seconds: of video that the engine's rows measure.
        steps_measured: of the published steps, how many run where a video takes minutes.
        tiny: every row at tiny width.
        count: whether FLOPs are counted.
        weights: where real weights are, by system; random where there are none.
        checkouts: of the systems that run from one, by name.
    """

    names: Sequence[str] = tuple(SYSTEMS)
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    repeats: int = 3
    seconds: float = 12.0
    steps_measured: int = 4
    tiny: bool = False
    count: bool = True
    weights: Mapping[str, str] = field(default_factory=dict)
    checkouts: Mapping[str, Checkout] = field(default_factory=dict)

    def rows(self) -> Iterator[list[Row]]:
        """The rows so far, after each measurement.

        A row that cannot be run has ``needs``; one that failed has ``error``; the others go on.
        """
        rows = {name: self._facts(SYSTEMS[name]) for name in self.names}
        measured: dict[str, list[Measurement | None]] = {name: [] for name in self.names}
        for _ in range(self.repeats):
            for name, row in rows.items():
                if "needs" in row or "error" in row:
                    continue
                measured[name].append(self._try(name, row))
                release()
                yield self._with_results(rows, measured)
        yield self._with_results(rows, measured)

    def _facts(self, system: System) -> Row:
        row: Row = {
            "name": system.name,
            "title": system.title,
            "runs_in": system.kind,
            "parameters_b": system.parameters_b,
            "paper_fps": system.paper_fps,
            "counted": count_system(system.name) if self.count else None,
        }
        needs = missing(system.name, self.checkouts[system.name]) if system.kind == "checkout" else None
        return row | ({"needs": needs} if needs else {})

    def _try(self, name: str, row: Row) -> Measurement | None:
        try:
            return self._measure(name)
        except LongLiveError as error:
            row["error"] = " ".join(str(error).split())
        except Exception as error:  # whatever another system's code raises, the other rows are kept
            logger.exception("%s failed", name)
            row["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        return None

    def _measure(self, name: str) -> Measurement:
        kind, weights = SYSTEMS[name].kind, self.weights.get(name)
        device, dtype = self.options.torch_device, self.options.torch_dtype
        if kind == "engine":
            return engine.measure_engine(
                name, self.options, seconds=self.seconds, tiny=self.tiny, weights=weights
            )
        how: dict[str, Any] = {"steps_measured": self.steps_measured, "tiny": self.tiny}
        if kind == "diffusers":
            return pipelines.measure_pipeline(name, device, dtype, weights=weights, **how)
        return measure_checkout(name, self.checkouts[name], device, dtype, **how)

    def _with_results(
        self, rows: Mapping[str, Row], measured: Mapping[str, Sequence[Measurement | None]]
    ) -> list[Row]:
        references = _end_to_end(measured.get(REFERENCE, ()))
        return [
            row
            | {"random_weights": name not in self.weights}
            | (_results(measured[name], references) if any(measured[name]) else {})
            for name, row in rows.items()
        ]


def _results(found: Sequence[Measurement | None], references: Sequence[float | None]) -> Row:
    """The figures of a row: medians over the turns, and what each turn gave end to end."""
    made = [one for one in found if one is not None]
    last = made[-1]
    ratios = [
        own / reference
        for own, reference in zip(_end_to_end(found), references, strict=False)
        if own is not None and reference
    ]
    return {
        "pictures": last.pictures,
        "height": last.height,
        "width": last.width,
        "steps": last.steps,
        "steps_measured": last.steps_measured,
        "extrapolated": last.is_extrapolated,
        "stages_s": _medians([one.whole_video() for one in made]),
        "fps": _medians([one.fps() for one in made]),
        "fps_turns": [_rounded(value) for value in _end_to_end(found)],
        "ratio": _spread(ratios),
    }


def _end_to_end(found: Sequence[Measurement | None]) -> list[float | None]:
    return [None if one is None else one.fps()["end_to_end"] for one in found]


def _medians(turns: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    columns = {name: [turn[name] for turn in turns] for name in turns[0]}
    return {
        name: None if any(value is None for value in values) else _rounded(median(values))  # type: ignore[type-var]
        for name, values in columns.items()
    }


def _spread(values: Sequence[float]) -> dict[str, float | int | None] | None:
    if not values:
        return None
    low, middle, high = map(_rounded, (min(values), median(values), max(values)))
    return {"median": middle, "least": low, "most": high, "turns": len(values)}


def _rounded(value: float | None) -> float | None:
    """To four significant digits: rows differ by factors of thousands."""
    return None if value is None else float(f"{value:.4g}")
