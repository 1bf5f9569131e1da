"""The figures of all watchers together."""

from longlive.benchmark.loadtest.watching.app_usage import UsageSample
from longlive.benchmark.loadtest.watching.watchers_result import (
    WatcherResult,
    combine_watchers,
    stall_figures,
)


def test_pauses_count_from_a_quarter_of_a_second_on() -> None:
    assert stall_figures([0.1, 0.25, 0.26, 1.0]) == (2, 1.0)
    assert stall_figures([]) == (0, 0.0)


def test_watchers_are_added_up_and_their_cost_is_shared() -> None:
    each = [
        WatcherResult("a", 0.2, 10, 1, 0.5, 2, (1.0, 1.2), 1000.0, 1),
        WatcherResult("b", 0.4, 10, 0, 0.1, 0, (1.4, 1.6), 3000.0),
        WatcherResult("c", end="refused"),
    ]
    samples = {
        "settled": UsageSample(0, 0, 0),
        "before": UsageSample(10, 1, 100_000_000),
        "joined": UsageSample(20, 2, 104_000_000),
        "end": UsageSample(30, 6, 105_000_000),
    }
    result = combine_watchers(4, each, samples, browsers=1)
    assert (result.watchers, result.served, result.browsers) == (4, 2, 1)
    assert (result.stalls, result.with_stalls, result.longest_stall_s) == (1, 1, 0.5)
    assert (result.jumps, result.reconnections, result.ends) == (2, 1, ("refused",))
    assert (result.first_picture_p50_s, result.delay_p50_s, result.max_delay_s) == (0.3, 1.3, 1.6)
    assert result.bytes_per_s == 2000
    assert (result.app_cpu_before, result.app_cpu, result.app_cpu_per_watcher) == (0.1, 0.4, 0.075)
    assert (result.app_rss_before_mb, result.app_rss_joined_mb, result.app_rss_end_mb) == (100, 104, 105)
    assert result.app_rss_per_watcher_kb == 1000


def test_of_an_app_elsewhere_the_cost_is_not_known() -> None:
    result = combine_watchers(1, [], {"settled": None, "before": None})
    assert result.app_cpu is result.app_cpu_per_watcher is result.app_rss_per_watcher_kb is None
    assert (result.served, result.delay_p95_s, result.bytes_per_s) == (0, None, None)
