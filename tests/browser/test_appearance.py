"""The page fits, can be used by keyboard, and requests nothing from other hosts."""

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

MEADOW = "a red ball stands on a green meadow"
IDS = ["prompt", "send", "switch", "seed", "start", "stop", "player", "timeline", "status", "take"]
IDS += ["session-file", "examples", "server-status", "help", "complete"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_every_part_has_its_id_once(visit) -> None:
    viewer = visit()
    counts = {name: viewer.page.locator(f"[id='{name}']").count() for name in IDS}
    assert counts == dict.fromkeys(IDS, 1)


def test_a_phone_scrolls_only_downwards_and_shows_the_player_first(visit) -> None:
    viewer = visit(**PHONE)
    assert viewer.overflow() == 0
    viewer.start(MEADOW + " " + "and " * 60)
    viewer.wait("data.frame > 8")
    assert viewer.overflow() == 0
    boxes = [viewer.page.locator(name).bounding_box() for name in ("#player", "#prompt", "#timeline")]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]
    viewer.page.click("#stop")
    viewer.wait("data.take === 'yes'")
    viewer.page.wait_for_selector("#take video")
    assert viewer.overflow() == 0


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(visit) -> None:
    viewer = visit()
    viewer.page.focus("#prompt textarea")
    reached = []
    for _ in range(10):
        viewer.page.keyboard.press("Tab")
        reached.append(
            viewer.page.evaluate(
                "[document.activeElement.closest('#start, #send, #stop, #complete, #switch, #examples')?.id,"
                " getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert [name for name, _ in reached[:5]] == ["start", "send", "stop", "complete", "switch"]
    assert "examples" in [name for name, _ in reached]
    assert all(style != "none" for name, style in reached if name in ("start", "send", "stop", "examples"))


@pytest.mark.slow
def test_the_status_line_follows_the_server(visit) -> None:
    viewer = visit()
    line = viewer.page.locator("#server-status p")
    expect(line).to_contain_text("in use · queue empty")
    assert line.inner_text().startswith("0 of ")
    viewer.start(MEADOW)
    expect(line).to_have_text(re.compile(r"1 of \d+ slots? in use · queue empty"))
    viewer.page.click("#stop")
    expect(line).to_contain_text("0 of ")
    assert not viewer.errors


@pytest.mark.slow
def test_a_hidden_tab_asks_for_nothing_and_a_lost_server_is_reported(visit) -> None:
    viewer = visit()
    line = viewer.page.locator("#server-status p")
    expect(line).to_contain_text("in use")
    asked = []
    viewer.page.on("request", lambda one: asked.append("status" in (one.post_data or "")))
    _hide(viewer.page, True)
    viewer.page.wait_for_timeout(6000)
    assert not any(asked)
    viewer.page.context.set_offline(True)
    _hide(viewer.page, False)
    expect(line).to_contain_text("does not answer")
    assert any(asked)
    viewer.page.context.set_offline(False)
    expect(line).to_contain_text("in use")


def _hide(page: Page, is_hidden: bool) -> None:
    page.evaluate(
        "(is) => { Object.defineProperty(document, 'hidden', { value: is, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden,
    )


def test_the_status_line_is_read_aloud_and_the_player_has_names(visit) -> None:
    viewer = visit()
    assert viewer.page.locator("#status [role=status][aria-live=polite]").count() == 1
    for name in ("Pause", "Full screen"):
        assert viewer.page.locator(f"#player button[aria-label='{name}']").count() == 1


def test_dark_and_light_differ_and_both_can_be_read(visit) -> None:
    contrast = """() => {
      const lightness = (colour) => {
        const linear = (v) => (v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const of = (name, key) => lightness(getComputedStyle(document.querySelector(name))[key]);
      const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return [of('body', 'backgroundColor'),
        ratio(of('#status p', 'color'), of('#status p', 'backgroundColor')),
        ratio(of('#header p', 'color'), of('body', 'backgroundColor')),
        ratio(of('#start', 'color'), of('#start', 'backgroundColor'))];
    }"""
    paper, *light = visit(color_scheme="light").page.evaluate(contrast)
    night, *dark = visit(color_scheme="dark").page.evaluate(contrast)
    assert paper > 0.7 and night < 0.05
    assert min(light + dark) > 4.5


def test_the_page_requests_nothing_from_other_hosts(browser, served) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.url)
    page.wait_for_selector("#start")
    page.wait_for_timeout(1000)
    context.close()
    foreign = [url for url in asked if not url.startswith((served.url, "data:", "blob:"))]
    assert foreign == []


@pytest.mark.slow
def test_components_of_the_api_are_not_on_the_page(visit) -> None:
    viewer = visit()
    viewer.start("a red ball stands on a green meadow")
    shown = viewer.page.locator("[data-testid=block-label], .json-holder, .json-node").all()
    assert not [one.inner_text() for one in shown if one.is_visible() and one.inner_text() != "Your video"]
    assert viewer.page.locator(".json-holder, .json-node").count() == 0


@pytest.mark.parametrize("size", [(320, 568), (360, 640), (568, 320), (844, 390)])
@pytest.mark.slow
def test_on_a_phone_the_video_is_in_sight_after_start_and_while_the_viewer_types(visit, size) -> None:
    width, height = size
    viewer = visit(viewport={"width": width, "height": height}, has_touch=True, is_mobile=True)
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing'")
    boxes = """() => ['#player .frame', '#prompt textarea'].map((part) => {
      const { top, bottom } = document.querySelector(part).getBoundingClientRect();
      return [Math.ceil(top), Math.floor(bottom)];
    })"""
    for _ in ("after Start", "while typing"):
        (top, bottom), (prompt_top, prompt_bottom) = viewer.page.evaluate(boxes)
        assert top >= 0 and bottom <= height, (top, bottom)
        assert prompt_top >= 0 and prompt_bottom <= height, (prompt_top, prompt_bottom)
        assert width > height or prompt_top >= bottom, "the video does not cover the prompt"
        viewer.page.tap("#prompt textarea")
        viewer.page.keyboard.type(" and a cube")
    assert viewer.overflow() == 0
