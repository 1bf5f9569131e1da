"""A page in a real browser as one viewer of a load."""

import shutil

import pytest

from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.runner import load
from tests.support.fakes import FakeModels, serve_page

pytestmark = pytest.mark.browser


@pytest.mark.usefixtures("browser")
def test_a_page_in_a_browser_is_a_viewer_beside_a_program() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with serve_page(FakeModels(chunk_s=0.02), disconnect_timeout_s=2, retention_s=0.5) as page:
        plan = Plan(viewers=2, browsers=1, seconds=4, switch_every=3)
        result = load(page.url, plan, chromium=chromium)
        page.wait_until_empty()
    tab, program = result.watched
    assert (tab.viewer, program.viewer) == ("browser 1", "viewer 2")
    assert (tab.prompts, len(tab.prompt_to_screen_s), tab.pictures_lost) == (1, 1, 0)
    assert tab.pictures > 16 and tab.pictures_read == 0, "test cards are no picture book"
    assert (result.got_in, result.failed, result.wrong_story_pictures) == (2, 0, 0)


@pytest.mark.usefixtures("browser")
def test_a_browser_that_does_not_start_is_one_viewer_s_failure() -> None:
    with serve_page(FakeModels(chunk_s=0.02)) as page:
        result = load(page.url, Plan(viewers=1, browsers=1, seconds=1), chromium="/nowhere/chromium")
    assert result.failed == 1 and "/nowhere/chromium" in result.watched[0].end
