"""The choice of a model on the page."""

from collections.abc import Callable, Iterator

import pytest

from tests.browser.conftest import Viewer
from tests.support.fakes import FakeModels, Served, serve_page, sketches
from tests.support.run_reader import run_of, unfinished

pytestmark = pytest.mark.browser

SWITCH = "[...document.querySelectorAll('#switch input')].find((one) => one.checked)?.value"


@pytest.fixture
def two_models() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.1), others=[sketches()], disconnect_timeout_s=2) as served:
        yield served


@pytest.mark.slow
def test_the_page_follows_the_choice_and_a_video_keeps_its_model(
    two_models: Served, visit: Callable[..., Viewer]
) -> None:
    viewer = visit(served=two_models)
    page = viewer.page
    assert page.inner_text("#model-about").startswith(
        "A model of test cards. It was trained to change smoothly"
    )
    assert page.locator("#examples .example:visible").all_inner_texts() == ["A jump", "A roll"]
    page.get_by_role("radio", name="sketches").check()
    page.wait_for_function(
        "document.querySelector('#model-about').innerText.startsWith('A model of sketches.')"
    )
    page.wait_for_function(f"{SWITCH} === 'keep'")
    assert page.locator("#examples .example:visible").all_inner_texts() == ["A line", "A dot"]
    assert page.get_attribute("#prompt textarea", "placeholder") == "a line"
    page.click("#start")
    viewer.wait("data.frame >= 0")
    assert viewer.text("#player .caption") == "a line"
    (run,) = unfinished(two_models.engine)
    assert run.model == "sketches"
    page.get_by_role("radio", name="test cards").check()
    page.wait_for_function(f"{SWITCH} === 'soft'")
    assert run_of(two_models.engine, run.viewer) is run and run.model == "sketches"
    page.click("#examples .example:visible >> nth=0")
    page.wait_for_function("document.querySelector('#player .caption').innerText.startsWith('a red ball')")
    assert [one.model for one in unfinished(two_models.engine) if not one.is_leaving] == ["test cards"]
    assert not viewer.errors


def test_one_model_is_no_choice(visit: Callable[..., Viewer]) -> None:
    viewer = visit()
    assert viewer.page.locator("#model").count() == 0 or not viewer.page.locator("#model").is_visible()
    assert viewer.text("#about") == "A model of test cards."
