"""Watchers of a page of test cards, beside its viewer."""

import pytest

from longlive.audience.audience import Audience
from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.report import table
from longlive.benchmark.loadtest.runner import run_load_test
from longlive.errors import ConfigError
from tests.support.fakes import FakeModels, serve_page


def _noted(opened: list[Audience], audience: Audience) -> Audience:
    opened.append(audience)
    return audience


@pytest.mark.slow
def test_watchers_follow_the_viewers_until_these_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_page(FakeModels(chunk_s=0.02, streams=2)) as page:
        audiences, opened = page.page.endpoints.audiences, list[Audience]()
        monkeypatch.setattr(audiences, "open", lambda run, open=audiences.open: _noted(opened, open(run)))
        result = run_load_test(page.url, Plan(viewers=2, watchers=5, seconds=4, switch_every=2))
        assert sorted(one.peak for one in opened) == [2, 3]
    watchers = result.watchers
    assert watchers is not None and (watchers.watchers, watchers.served) == (5, 5)
    assert watchers.reconnections == 0 and not watchers.ends
    assert watchers.bytes_per_s and watchers.delay_p50_s is not None
    assert watchers.app_rss_end_mb and watchers.app_cpu_before
    assert "those who watched along" in table(result)


def test_a_crowd_needs_somebody_to_watch() -> None:
    with pytest.raises(ConfigError, match="viewers that are no browsers"):
        Plan(viewers=1, browsers=1, watchers=2)
    with pytest.raises(ConfigError, match="watcher-browsers"):
        Plan(viewers=1, watchers=2, watcher_browsers=3)
