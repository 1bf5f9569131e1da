"""Watching along in real browsers: the same pictures, looking back, proposals, and a door that closes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Viewer, Watcher, first_frame
from tests.support.fakes import FakeModels, Served, serve_page

pytestmark = pytest.mark.browser

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
GRAVE = ("serious", "critical")
Watch = Callable[..., Watcher]


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watch]:
    """Open a link in a browser of its own."""
    contexts = []

    def open_link(url: str, **options: Any) -> Watcher:
        contexts.append(browser.new_context(**({"viewport": {"width": 1000, "height": 900}} | options)))
        return Watcher(contexts[-1].new_page(), url)

    yield open_link
    for context in contexts:
        context.close()


def open_door(viewer: Viewer) -> str:
    """Let others watch along; the link."""
    viewer.page.click("#watching-tab")
    viewer.page.click("#watch-along .open")
    viewer.page.wait_for_selector("#watch-along .audience:not([hidden])")
    return viewer.page.input_value("#watch-along .link")


@pytest.mark.slow
def test_two_browsers_see_what_the_owner_sees_until_the_door_is_closed(visit, watch: Watch) -> None:
    owner = visit()
    owner.start(MEADOW)
    link = open_door(owner)
    one, two = watch(link), watch(link, **PHONE)
    for watcher in (one, two):
        watcher.wait(state="playing", watching="2")
        watcher.wait_for_frame(first_frame(3))
        frame, prompt = watcher.card()
        assert prompt == 0 and frame >= first_frame(3)
        expect(watcher.page.locator("#player .caption")).to_have_text(MEADOW)
    expect(owner.page.locator("#watch-along .count")).to_have_text("2 watch now; 2 at the most so far.")
    owner.write(JUMP)
    owner.page.click("#send")
    for watcher in (one, two):
        watcher.wait(prompt="1")
        assert watcher.card()[1] == 1
        expect(watcher.page.locator("#timeline .prompt .text")).to_have_text([MEADOW, JUMP])
    owner.page.click("#player .pause")
    one.wait(state="paused")
    expect(one.page.locator("#status")).to_have_text("Its owner has paused the video.")
    owner.page.click("#watch-along .close")
    for watcher in (one, two):
        watcher.wait(state="closed")
        expect(watcher.page.locator("#status")).to_have_text("The owner has closed this video.")
        assert watcher.errors == []
    three = watch(link)
    three.wait(state="unknown")
    expect(three.page.locator("#status")).to_contain_text("There is nothing to watch here")
    expect(three.page.locator("#watching")).to_be_hidden()


@pytest.mark.slow
def test_one_who_watches_can_look_back_and_return_by_keyboard(visit, watch: Watch) -> None:
    owner = visit()
    owner.start(MEADOW)
    watcher = watch(open_door(owner))
    watcher.wait_for_frame(first_frame(5))
    watcher.page.click("#timeline [data-chunk='1']")
    expect(watcher.page.locator("#player .review")).to_be_visible()
    expect(watcher.page.locator("#player .moment")).to_contain_text("Looking back, 0:0")
    expect(watcher.page.locator("#status")).to_contain_text("You look back.")
    assert first_frame(1) <= watcher.card("#player .review video")[0] < first_frame(5)
    expect(watcher.page.locator("#branch")).to_have_count(0)
    watcher.page.keyboard.press("Escape")
    expect(watcher.page.locator("#player .review")).to_be_hidden()
    watcher.page.focus("#timeline .strip")
    watcher.page.keyboard.press("Home")
    expect(watcher.page.locator("#player .review")).to_be_visible()
    watcher.page.keyboard.press("End")
    expect(watcher.page.locator("#player .review")).to_be_hidden()
    watcher.page.get_by_role("button", name="Pause", exact=True).click()
    watcher.wait(state="paused")
    expect(watcher.page.locator("#status")).to_contain_text("You have paused.")
    watcher.page.get_by_role("button", name="Play", exact=True).click()
    watcher.wait(state="playing")
    assert watcher.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_has_the_colours_of_the_owner_s(
    visit, watch: Watch, served: Served, scheme: str
) -> None:
    owner = visit(color_scheme=scheme)
    owner.start(MEADOW)
    watcher = watch(open_door(owner), color_scheme=scheme, **PHONE)
    watcher.wait(state="playing")
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert watcher.page.locator("html").evaluate(f"() => {width}") == 0
    colour = "(e) => getComputedStyle(e).backgroundColor"
    shown = [one.locator("#status p").first.evaluate(colour) for one in (owner.page, watcher.page)]
    assert shown[0] == shown[1]
    assert owner.overflow() == 0
    audiences = served.page.endpoints.audiences
    audiences.change(audiences.of_run(next(iter(served.engine.runs))), takes_proposals=True)
    expect(watcher.page.locator("#proposals")).to_be_visible()
    for page, part in ((watcher.page, "body"), (owner.page, "#watch-along")):
        found = Axe().run(page, context=part).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in GRAVE] == []


@pytest.mark.slow
def test_proposals_are_shown_to_the_owner_as_text_and_sent_at_a_click(
    visit, watch: Watch, served: Served
) -> None:
    owner = visit()
    owner.start(MEADOW)
    watcher = watch(open_door(owner))
    owner.page.click("#watch-along .takes-proposals")
    expect(owner.page.locator("#watch-along .none")).to_be_visible()
    markup = "<img src=x onerror=alert(1)> a blue cube"
    (run,) = served.engine.runs
    audience = served.page.endpoints.audiences.of_run(run)
    audience.proposals.propose("a", "10.0.0.1", markup)
    audience.proposals.propose("b", "10.0.0.2", JUMP)
    audience.proposals.vote("c", "10.0.0.3", 2)
    texts = owner.page.locator("#watch-along li .text")
    expect(texts).to_have_text([JUMP, markup])
    expect(owner.page.locator("#watch-along li .votes")).to_have_text(["2 votes", "1 vote"])
    owner.page.get_by_role("button", name=f"Dismiss: {markup}").click()
    expect(texts).to_have_text([JUMP])
    owner.page.locator("#switch label", has_text="Cut").click()
    owner.page.get_by_role("button", name=f"Send: {JUMP}").click()
    owner.wait("data.prompt === '1'")
    watcher.wait(prompt="1")
    assert owner.text("#player .caption") == JUMP
    assert not owner.errors and not watcher.errors


def test_a_duplicated_tab_can_watch_its_own_video(visit) -> None:
    owner = visit()
    owner.start(MEADOW)
    copy = owner.duplicate()
    copy.wait("data.state === 'elsewhere'")
    copy.page.click("#player .elsewhere .watch")
    copy.page.wait_for_url("**/watch/*")
    expect(copy.page.locator("#player")).to_have_attribute("data-state", "playing")
    owner.wait("data.state === 'playing'")


@pytest.mark.slow
def test_one_who_waits_is_offered_what_others_show(visit, watch: Watch) -> None:
    with serve_page(FakeModels(chunk_s=0.1, streams=1), disconnect_timeout_s=2, retention_s=2) as served:
        owner, other = visit(served=served), visit(served=served)
        owner.start(MEADOW)
        open_door(owner)
        owner.page.click("#watch-along .is-listed")
        expect(owner.page.locator("#watch-along .is-listed")).to_be_checked()
        other.write(MEADOW)
        other.page.click("#start")
        other.wait("data.state === 'waiting'")
        with other.page.context.expect_page() as opened:
            other.page.get_by_role("link", name="Watch another video meanwhile").click()
        expect(opened.value.locator("#player")).to_have_attribute("data-state", "playing")
        other.page.context.close()
        owner.page.context.close()


@pytest.mark.slow
def test_a_link_leads_on_to_the_next_video_and_through_a_broken_line(
    visit, watch: Watch, patient_page: Served, relay
) -> None:
    owner = visit(served=patient_page)
    owner.start(MEADOW)
    link = open_door(owner)
    watcher = watch(link.replace(patient_page.url, relay.url))
    watcher.wait_for_frame(20)
    relay.disconnect()
    watcher.page.wait_for_timeout(3000)
    relay.connect()
    watcher.wait_for_frame(first_frame(12))
    take = watcher.player.get_attribute("data-take")
    owner.start(JUMP)
    expect(watcher.player).not_to_have_attribute("data-take", take or "")
    expect(watcher.page.locator("#player .caption")).to_have_text(JUMP)
    owner.page.click("#stop")
    watcher.wait(state="ended")
