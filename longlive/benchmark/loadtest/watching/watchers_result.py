"""What the watchers of a load test got, and what they cost the app."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longlive.benchmark.loadtest.virtual_player import STALL_S
from longlive.benchmark.loadtest.watching.app_usage import UsageSample, cpu_share
from longlive.benchmark.statistics import percentile

Samples = Mapping[str, UsageSample | None]
"""Of the app: ``settled`` (every viewer has pictures), ``before`` (the first watcher comes), ``joined``
(all have come), ``end`` (the first viewer leaves)."""


@dataclass(frozen=True)
class WatcherResult:
    """What one watcher got; in seconds, unless a name says otherwise.

    Attributes:
        watcher: its name.
        first_picture_s: from the request to the first picture; None if none came.
        seconds: watched, from the first picture on.
        stalls, longest_stall_s: pauses of more than 0.25 s, and the longest of all pauses.
        jumps: how often it went elsewhere in the video (in a browser: not known).
        delays_s: how far it was behind the owner's screen, twice a second.
        bytes_per_s: that came over its connection (in a browser: not known).
        reconnections: how often its connection broke.
        end: why it had no picture or no further one, if so.
    """

    watcher: str
    first_picture_s: float | None = None
    seconds: float = 0.0
    stalls: int = 0
    longest_stall_s: float = 0.0
    jumps: int | None = None
    delays_s: tuple[float, ...] = ()
    bytes_per_s: float | None = None
    reconnections: int = 0
    end: str = ""


@dataclass(frozen=True)
class WatchersResult:
    """What all watchers got together.

    Attributes:
        watchers, served: who were to watch; who had pictures.
        browsers: how many of them were pages in a browser.
        first_picture_p50_s, first_picture_p95_s: from the request to the first picture.
        stalls, with_stalls, longest_stall_s: pauses of more than 0.25 s; watchers who had any; the longest
            pause.
        jumps, reconnections: of all.
        delay_p50_s, delay_p95_s, max_delay_s: how far they were behind their owner's screen, twice a second
            each.
        bytes_per_s: over the connection of one watcher, on average.
        app_cpu_before, app_cpu: processor cores that the app had in use before and while they watched;
            None, as all that follows, where the app is on another machine.
        app_cpu_per_watcher: the difference, for each of them.
        app_rss_before_mb, app_rss_joined_mb, app_rss_end_mb: its memory before they came, when all had, at
            the end.
        app_rss_per_watcher_kb: how much more it was when all had come, for each of them.
        ends: why watchers had no picture or no further one, each once.
    """

    watchers: int
    served: int
    browsers: int
    first_picture_p50_s: float | None
    first_picture_p95_s: float | None
    stalls: int
    with_stalls: int
    longest_stall_s: float
    jumps: int
    reconnections: int
    delay_p50_s: float | None
    delay_p95_s: float | None
    max_delay_s: float | None
    bytes_per_s: float | None
    app_cpu_before: float | None
    app_cpu: float | None
    app_cpu_per_watcher: float | None
    app_rss_before_mb: float | None
    app_rss_joined_mb: float | None
    app_rss_end_mb: float | None
    app_rss_per_watcher_kb: float | None
    ends: tuple[str, ...]


def stall_figures(stalls: Sequence[float]) -> tuple[int, float]:
    """How many pauses are stalls, and the longest pause, in seconds."""
    return sum(stall > STALL_S for stall in stalls), round(max(stalls, default=0.0), 3)


def combine_watchers(
    count: int, each: Sequence[WatcherResult], samples: Samples, *, browsers: int = 0
) -> WatchersResult:
    """Combine what ``count`` watchers got, of whom some may never have come."""
    firsts = [one.first_picture_s for one in each if one.first_picture_s is not None]
    delays = [delay for one in each for delay in one.delays_s]
    rates = [one.bytes_per_s for one in each if one.bytes_per_s is not None]
    before, joined = samples.get("before"), samples.get("joined")
    cpu_before = cpu_share(samples.get("settled"), before)
    cpu = cpu_share(joined, samples.get("end"))
    has_both = cpu is not None and cpu_before is not None
    return WatchersResult(
        watchers=count,
        served=len(firsts),
        browsers=browsers,
        first_picture_p50_s=percentile(firsts, 50),
        first_picture_p95_s=percentile(firsts, 95),
        stalls=sum(one.stalls for one in each),
        with_stalls=sum(one.stalls > 0 for one in each),
        longest_stall_s=max((one.longest_stall_s for one in each), default=0.0),
        jumps=sum(one.jumps or 0 for one in each),
        reconnections=sum(one.reconnections for one in each),
        delay_p50_s=percentile(delays, 50),
        delay_p95_s=percentile(delays, 95),
        max_delay_s=percentile(delays, 100),
        bytes_per_s=round(sum(rates) / len(rates)) if rates else None,
        app_cpu_before=_rounded(cpu_before, 3),
        app_cpu=_rounded(cpu, 3),
        app_cpu_per_watcher=round(((cpu or 0) - (cpu_before or 0)) / count, 5) if has_both else None,
        app_rss_before_mb=_megabytes(before),
        app_rss_joined_mb=_megabytes(joined),
        app_rss_end_mb=_megabytes(samples.get("end")),
        app_rss_per_watcher_kb=round((joined.rss - before.rss) / 1e3 / count, 1)
        if joined and before
        else None,
        ends=tuple(dict.fromkeys(one.end for one in each if one.end)),
    )


def _megabytes(sample: UsageSample | None) -> float | None:
    return None if sample is None else round(sample.rss / 1e6, 1)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
