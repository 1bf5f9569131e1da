"""The choice of a size on the page, and the player, which takes the shape of the pictures."""

from collections.abc import Callable, Iterator

import pytest

from tests.browser.conftest import Viewer
from tests.support.fakes import PORTRAIT, Served, serve_page, sized_cards, sketches
from tests.support.run_reader import unfinished

pytestmark = pytest.mark.browser

SHAPE = """(part) => {
  const { width, height, bottom } = document.querySelector(part).getBoundingClientRect();
  return [width / height, bottom <= innerHeight];
}"""
PICTURE = "(video) => video.videoWidth / video.videoHeight"


@pytest.fixture
def served() -> Iterator[Served]:
    with serve_page(sized_cards(chunk_s=0.1), others=[sketches()], disconnect_timeout_s=2) as page:
        yield page


@pytest.mark.slow
@pytest.mark.parametrize("window", [(1280, 900), (390, 844)])
def test_a_portrait_plays_in_a_portrait_player(
    served: Served, visit: Callable[..., Viewer], window: tuple[int, int]
) -> None:
    viewer = visit(viewport={"width": window[0], "height": window[1]})
    page = viewer.page
    assert page.evaluate(SHAPE, "#player .frame")[0] == pytest.approx(96 / 64, abs=0.02)
    page.get_by_role("radio", name="Portrait").check()
    viewer.start("a red ball stands on a green meadow")
    viewer.wait("data.frame > 8")
    assert viewer.data["size"] == "64x96"
    (run,) = unfinished(served.engine)
    assert run.size == PORTRAIT
    ratio, is_in_sight = page.evaluate(SHAPE, "#player .frame")
    assert ratio == pytest.approx(64 / 96, abs=0.02) and is_in_sight
    assert page.locator("#player video").first.evaluate(PICTURE) == pytest.approx(64 / 96)
    assert viewer.overflow() == 0
    viewer.branch_at(1, "a blue cube rolls on snow")
    page.wait_for_function("document.querySelector('#player .caption').innerText.startsWith('a blue cube')")
    assert viewer.data["size"] == "64x96", "a branch has the size of its video"
    page.get_by_role("radio", name="Landscape").check()
    page.click("#start")
    page.wait_for_function("document.querySelector('#player').dataset.size === '96x64'")
    viewer.wait("data.frame > 8 && data.state === 'playing'")
    assert page.evaluate(SHAPE, "#player .frame")[0] == pytest.approx(96 / 64, abs=0.02)
    assert not viewer.errors


@pytest.mark.slow
def test_the_choice_follows_the_model(served: Served, visit: Callable[..., Viewer]) -> None:
    page = visit().page
    assert page.locator("#size label").all_inner_texts() == ["Landscape", "Portrait", "Square"]
    page.get_by_role("radio", name="Square").check()
    page.get_by_role("radio", name="sketches").check()
    page.wait_for_selector("#size", state="hidden")
    page.get_by_role("radio", name="test cards").check()
    page.wait_for_selector("#size", state="visible")
    assert page.get_by_role("radio", name="Landscape").is_checked(), "the size of the model, not of before"


@pytest.mark.slow
def test_the_compatible_player_takes_the_shape_too(served: Served, visit: Callable[..., Viewer]) -> None:
    viewer = visit("?player=hls")
    viewer.page.get_by_role("radio", name="Portrait").check()
    viewer.start("a red ball stands on a green meadow")
    viewer.page.wait_for_function("document.querySelector('#compatible video').videoWidth > 0")
    ratio, is_in_sight = viewer.page.evaluate(SHAPE, "#compatible video")
    picture = viewer.page.locator("#compatible video").evaluate(PICTURE)
    assert picture == pytest.approx(64 / 96) and ratio >= picture and is_in_sight, "none of it is cut off"
    assert not viewer.errors
