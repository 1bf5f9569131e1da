"""The room in a browser: proposals, votes, what won, a video of one's own from it, and the tab."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from longlive.audience.room import Room
from longlive.audience.room_options import RoomOptions
from longlive.generation.storyboard import Scene
from tests.browser.conftest import Watcher, first_frame
from tests.support.fakes import FakeModels, Served, serve_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MARKUP = "<img src=x onerror=alert(1)>"
OPTIONS = RoomOptions(
    scenes=(Scene(0, "a red ball stands"),), round_s=3600, rest_s=3600, voices_per_address=9
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.1), room=OPTIONS) as served:
        yield served


@pytest.fixture
def room(served: Served) -> Room:
    room = served.page.endpoints.audiences.find("room")
    assert isinstance(room, Room)
    return room


def open_room(browser: Browser, served: Served, errors: list[str]) -> Page:
    """A browser of somebody else, in the room."""
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(f"{served.url}room")
    page.wait_for_selector("#proposals:not([hidden])")
    page.wait_for_selector("#room-links:not([hidden])")
    return page


def test_two_browsers_propose_and_vote_and_see_what_won(browser: Browser, served: Served, room: Room) -> None:
    errors: list[str] = []
    ada, ben = (open_room(browser, served, errors) for _ in range(2))
    expect(ada.locator("#proposals .none")).to_be_visible()
    expect(ada.locator("#proposals .countdown")).to_contain_text("The vote ends in")
    ada.fill("#proposals input", MARKUP)
    ada.keyboard.press("Enter")
    for page in (ada, ben):
        expect(page.locator("#proposals li .text")).to_have_text([MARKUP])
        assert page.locator("#proposals img").count() == 0, "text is text"
    ben.fill("#proposals input", "the red ball jumps")
    ben.click("#proposals form button")
    expect(ben.locator("#proposals li")).to_have_count(2)
    vote = ada.get_by_role("button", name="Vote: the red ball jumps")
    vote.focus()
    ada.keyboard.press("Enter")
    expect(ben.locator("#proposals li").first).to_contain_text("2 votes")
    mine = ada.get_by_role("button", name="Your vote: the red ball jumps")
    expect(mine).to_be_focused()
    expect(mine).to_have_attribute("aria-pressed", "true")
    ada.reload()
    expect(mine).to_have_attribute("aria-pressed", "true")
    assert ada.evaluate("document.documentElement.scrollWidth") <= 390
    expect(ben.locator("#proposals .note")).to_have_text("It is proposed, with your vote.")
    room.skip()
    expect(ben.locator("#proposals .note")).to_be_hidden()
    for page in (ada, ben):
        expect(page.locator("#proposals .chosen")).to_have_text("Won with 2 votes: the red ball jumps")
        expect(page.locator("#player .caption")).to_have_text("the red ball jumps")
    ada.fill("#proposals input", "\u202e")
    ada.keyboard.press("Enter")
    expect(ada.locator("#proposals .note")).to_contain_text("control character")
    room.pause()
    expect(ben.locator("#proposals .countdown")).to_have_text("The room is paused.")
    room.resume()
    assert errors == []


def test_anybody_goes_on_from_the_room_by_themselves(browser: Browser, served: Served, room: Room) -> None:
    errors: list[str] = []
    page = open_room(browser, served, errors)
    token = room.run.token
    page.click("#room-links .branch")
    page.wait_for_function("document.querySelector('#player')?.dataset.frame >= 0")
    assert "#" not in page.url, "a reload begins no other"
    mine = next(one for one in served.engine.runs if one.token != token)
    assert mine.store.facts["parent"]["run"] == room.run.name
    page.click("#room-tab")
    expect(page.locator("#room-now .prompt")).to_contain_text("the red ball")
    expect(page.locator("#room-now .way")).to_have_attribute("href", f"{served.url}room")
    assert errors == [] and not room.run.is_leaving


def test_a_page_goes_on_with_the_room_s_next_run(browser: Browser) -> None:
    with serve_page(FakeModels(chunk_s=0.1), room=replace(OPTIONS, length_s=6.0)) as served:
        room = served.page.endpoints.audiences.find("room")
        assert isinstance(room, Room)
        player = Watcher(browser.new_page(), f"{served.url}room")
        page = player.page
        player.wait_for_frame(0)
        page.evaluate("window.isSamePage = true")
        first = str(player.player.get_attribute("data-take"))
        expect(player.player).not_to_have_attribute("data-take", first)
        room._player._length_s = 3600.0  # the run that plays now, or the next one, stays
        room.propose("ada", "127.0.0.1", "the red ball jumps")
        page.get_by_role("button", name="Vote: the red ball jumps").click()
        expect(page.locator("#proposals li")).to_contain_text("2 votes")
        room.skip()
        expect(page.locator("#player .caption")).to_have_text("the red ball jumps")
        player.wait(take=room.run.name, state="playing")
        player.wait_for_frame(first_frame(3))
        page.click("#timeline [data-chunk='1']")
        expect(player.player).to_have_attribute("data-review", re.compile(r"\d"))
        page.click("#player .to-live")
        expect(player.player).not_to_have_attribute("data-review", re.compile(".*"))
        player.wait_for_frame(int(player.player.get_attribute("data-frame") or 0) + 1)
        assert page.evaluate("window.isSamePage") and player.errors == []
