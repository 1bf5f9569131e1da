"""Branching in a real browser: a new take from a chunk that is seen again; the other one is kept."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from longlive.serving.scheduler import RunStatus
from tests.browser.conftest import READ_CARD, Viewer, first_frame
from tests.support.fakes import Served

pytestmark = pytest.mark.browser

MEADOW, CUBE = "a red ball stands on a green meadow", "a blue cube"
LIVE, AGAIN = "#player .frame > video", "#player .review video"


def lanes(viewer: Viewer) -> Locator:
    return viewer.page.locator("#timeline .take")


@pytest.fixture
def branched(visit: Callable[..., Viewer], patient_page: Served) -> Viewer:
    """A viewer who has seen six chunks, and gone on from the third with another prompt."""
    viewer = visit(served=patient_page)
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(6)}")
    viewer.branch_at(3, CUBE)
    viewer.wait(f"data.prompt === '1' && data.frame > {first_frame(4)}")
    return viewer


@pytest.mark.slow
def test_a_branch_plays_on_from_the_chunk_and_both_takes_are_on_the_page(
    branched: Viewer, patient_page: Served
) -> None:
    frame, prompt = branched.card(LIVE)
    assert prompt == 1 and frame >= first_frame(3)
    expect(lanes(branched)).to_have_count(2)
    shown = branched.page.locator("#timeline .take .show")
    assert [one.get_attribute("aria-current") for one in shown.all()] == ["false", "true"]
    assert branched.text("#player .caption") == CUBE
    strip = branched.page.locator("#timeline .chunk img")
    branched.page.wait_for_function("document.querySelectorAll('#timeline .chunk img').length >= 5")
    cards = [image.evaluate(READ_CARD) for image in strip.all()[:4]]
    assert [prompt for _, prompt in cards] == [0, 0, 0, 1], "what both have in common, then the new prompt"
    statuses = sorted(str(run.status) for run in patient_page.engine.runs)
    assert statuses == [RunStatus.FINISHED, RunStatus.RUNNING]
    frame, prompt = branched.card("#player .still")
    assert prompt == 0 and first_frame(3) <= frame < first_frame(5), "what was seen stood there meanwhile"
    assert branched.errors == []


@pytest.mark.slow
def test_the_other_take_can_be_seen_again_while_the_new_one_goes_on(branched: Viewer) -> None:
    lanes(branched).first.locator(".show").click()
    branched.page.wait_for_selector("#timeline [data-chunk='5'] img", state="attached")
    lanes(branched).first.locator(".files").click()
    cards = branched.downloaded_cards()
    assert len(cards) > first_frame(6) and {prompt for _, prompt in cards} == {0}, "its file is offered"
    branched.page.click("#timeline [data-chunk='5']")
    expect(branched.page.locator("#player .moment")).to_contain_text("Take 1, 0:0")
    branched.page.wait_for_function(f"document.querySelector('#player').dataset.review > {first_frame(5)}")
    frame, prompt = branched.card(AGAIN)
    assert prompt == 0 and frame >= first_frame(5)
    live = int(branched.data["frame"])
    branched.wait(f"data.frame > {live + 12}")
    branched.page.click("#player .to-live")
    assert branched.card(LIVE)[1] == 1
    lanes(branched).last.locator(".show").click()
    branched.page.wait_for_function("document.querySelectorAll('#timeline .chunk img').length >= 5")


@pytest.mark.slow
def test_a_branch_of_the_older_take_is_a_third_one(branched: Viewer) -> None:
    lanes(branched).first.locator(".show").click()
    branched.page.wait_for_selector("#timeline [data-chunk='2'] img", state="attached")
    branched.branch_at(2, "a third prompt")
    branched.wait(f"data.prompt === '1' && data.frame < {first_frame(6)}")
    expect(branched.page.locator("#player .caption")).to_have_text("a third prompt")
    expect(lanes(branched)).to_have_count(3)


@pytest.mark.slow
def test_takes_stay_over_a_reload_and_a_new_video_as_long_as_the_server_has_them(
    branched: Viewer, patient_page: Served
) -> None:
    branched.page.reload()
    branched.wait("data.state === 'playing'")
    expect(lanes(branched)).to_have_count(2)
    expect(branched.page.locator("#prompt textarea")).to_have_value(CUBE)
    branched.write("something else")
    branched.page.click("#start")
    expect(branched.page.locator("#player .caption")).to_have_text("something else")
    expect(lanes(branched)).to_have_count(3)
    first = next(run for run in patient_page.engine.runs if not run.store.facts.get("parent"))
    assert patient_page.engine.forget(first.token)
    branched.write("something new")
    branched.page.click("#start")
    expect(branched.page.locator("#player .caption")).to_have_text("something new")
    expect(lanes(branched).locator(".name")).to_have_text(["Take 2", "Take 3", "Take 4"])


@pytest.mark.slow
def test_the_first_chunk_is_no_place_to_branch(visit: Callable[..., Viewer]) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(2)}")
    viewer.page.click("#timeline [data-chunk='0']")
    expect(viewer.page.locator("#branch")).to_be_disabled()


@pytest.mark.slow
def test_a_branch_that_is_refused_leaves_the_page_as_it_was(
    visit: Callable[..., Viewer], patient_page: Served
) -> None:
    viewer = visit(served=patient_page)
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(4)}")
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended'")
    viewer.branch_at(2, "a red ball " * 300)
    viewer.page.wait_for_selector(".toast-body >> text=at most")
    viewer.wait("data.state === 'ended'")
    expect(viewer.page.locator("#player .still")).to_be_hidden()
    viewer.branch_at(2, CUBE)
    viewer.wait(f"data.prompt === '1' && data.frame > {first_frame(3)}")
    assert viewer.errors == []
