"""The page by keyboard and screen reader, and the video so far as a file."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.page_client import cards_of

pytestmark = pytest.mark.browser

MEADOW = "a red ball stands on a green meadow"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
GRAVE = ("serious", "critical")


@pytest.mark.slow
def test_the_keys_do_what_the_help_says(visit) -> None:
    viewer = visit()
    press = viewer.page.keyboard.press
    press("?")
    assert viewer.page.locator("#help dialog").is_visible()
    press("2")
    press("Escape")
    assert not viewer.page.locator("#help dialog").is_visible()
    chosen = "document.querySelector('#switch input:checked').value"
    assert viewer.page.evaluate(chosen) == "soft", "keys do nothing behind the help"
    for key, switch in (("2", "hard"), ("3", "keep"), ("1", "soft")):
        press(key)
        viewer.page.wait_for_function(f"{chosen} === '{switch}'")
    press("Enter")
    assert viewer.page.evaluate("document.activeElement.closest('#prompt') !== null")
    viewer.page.keyboard.type("2? b")
    assert viewer.page.input_value("#prompt textarea") == "2? b" and viewer.page.evaluate(chosen) == "soft"
    viewer.write(MEADOW)
    press("Enter")
    viewer.wait("data.state === 'playing' && data.frame > 30")
    viewer.page.evaluate("document.activeElement.blur()")
    press("Space")
    viewer.wait("data.state === 'paused'")
    press("Space")
    viewer.wait("data.state === 'playing'")
    press("Home")
    viewer.wait("data.review && data.review < 12")
    press("Space")
    viewer.page.wait_for_selector("#player .again[data-paused]")
    assert viewer.data["state"] == "playing", "what is seen again stands still, the live video goes on"
    press("End")
    viewer.wait("data.review === undefined")
    press("ArrowLeft")
    viewer.wait("data.review > 0")
    press("b")
    viewer.page.wait_for_selector("#timeline .takes .take:nth-child(2)")
    assert viewer.errors == []


@pytest.mark.slow
def test_the_video_so_far_is_saved_while_it_goes_on(visit, served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait("data.frame > 30")
    with viewer.page.expect_download() as download:
        viewer.page.click("#player .save")
    assert download.value.suggested_filename.startswith("longlive-a-red-ball-stands")
    cards = [frame for frame, _ in cards_of(download.value.path().read_bytes())]
    assert cards == list(range(len(cards))) and len(cards) >= 21
    frame = int(viewer.data["frame"])
    viewer.wait(f"data.frame > {frame + 12}")
    (run,) = served.engine.runs
    assert list(run.store.folder.glob("so-far-*")) == []
    assert viewer.errors == []


@pytest.mark.parametrize(
    "look", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"]
)
@pytest.mark.slow
def test_axe_finds_no_grave_fault(visit, look) -> None:
    viewer = visit(**look)
    faults = {"before": _faults(viewer)}
    viewer.start(MEADOW)
    viewer.wait("data.frame > 30")
    faults["playing"] = _faults(viewer)
    viewer.page.click("#help .open")
    faults["help"] = _faults(viewer)
    viewer.page.keyboard.press("Escape")
    viewer.page.click("#stop")
    viewer.page.wait_for_selector("#take video")
    faults["ended"] = _faults(viewer)
    assert not any(faults.values()), faults


def _faults(viewer) -> list[str]:
    found = Axe().run(viewer.page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in GRAVE]
