"""A page in a real browser as one viewer of a load test."""

import shutil

import pytest

from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.runner import run_load_test
from tests.support.fakes import FakeModels, serve_page

pytestmark = pytest.mark.browser


@pytest.mark.usefixtures("browser")
@pytest.mark.slow
def test_browsers_are_viewer_and_watcher_beside_those_of_the_api() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with serve_page(FakeModels(chunk_s=0.02), disconnect_timeout_s=2, retention_s=0.5) as page:
        plan = Plan(viewers=2, browsers=1, watchers=2, watcher_browsers=1, seconds=4, switch_every=3)
        result = run_load_test(page.url, plan, chromium=chromium)
        page.wait_until_empty()
    browser, api = result.viewers
    assert (browser.viewer, api.viewer) == ("browser 1", "viewer 2")
    assert (browser.prompts, len(browser.prompt_to_screen_s), browser.lost_pictures) == (1, 1, 0)
    assert browser.pictures > 16 and browser.read_pictures == 0, "test cards are not of the storybook"
    assert (result.served, result.failed, result.wrong_pictures) == (2, 0, 0)
    watchers = result.watchers
    assert watchers is not None and (watchers.served, watchers.browsers, watchers.ends) == (2, 1, ())


@pytest.mark.usefixtures("browser")
def test_a_browser_that_does_not_start_is_one_viewer_s_failure() -> None:
    with serve_page(FakeModels(chunk_s=0.02)) as page:
        plan = Plan(viewers=2, browsers=1, watchers=1, watcher_browsers=1, seconds=1)
        result = run_load_test(page.url, plan, chromium="/nowhere/chromium")
    assert result.failed == 1 and "/nowhere/chromium" in result.viewers[0].end
    assert result.watchers is not None and result.watchers.served == 0
    assert "/nowhere/chromium" in result.watchers.ends[0]
