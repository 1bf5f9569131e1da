"""What the model remembers, how the video fares, and what a prompt took: as a viewer sees them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.rendering.prompt_stages import STAGES
from longlive.web.messages import PICTURE_WARNINGS
from tests.browser.conftest import Viewer
from tests.support.fakes import FakeModels, FakeSession, Served, read_card, serve_page

pytestmark = pytest.mark.browser

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
SHOWN = """() => {
  const read = (part) => [...document.querySelectorAll(`#memory ${part} img`)].map((one) => {
    const cell = document.querySelector(`#timeline [data-chunk='${one.dataset.chunk}'] img`);
    return [Number(one.dataset.chunk), one.src === cell?.src];
  });
  const { switch: kind, switchChunk } = document.querySelector('#memory').dataset;
  const event = document.querySelector('#memory .event').textContent;
  const moment = document.querySelector('#memory .moment').textContent;
  const shown = { sink: read('.sink'), window: read('.window'), now: read('.now'), kind, switchChunk, event };
  return { ...shown, moment, chunk: shown.now[0]?.[0] ?? -1 };
}"""


def judge(prompt: str, pictures: np.ndarray) -> float:
    """The prompt's number, as the test card shows it, in quarters."""
    return 1 - read_card(pictures[-1])[1] / 4


@pytest.fixture(scope="module")
def judged() -> Iterator[Served]:
    """A page whose model has a judge."""
    models = FakeModels(chunk_s=0.1)
    runner = ModelRunner(models, open_session=FakeSession, judge=judge)  # type: ignore[arg-type]
    with serve_page(models, runner=runner, disconnect_timeout_s=2, retention_s=60) as served:
        yield served


def shown_when(viewer: Viewer, condition: str) -> dict[str, Any]:
    """What the panel shows as soon as a condition on that, ``shown``, holds."""
    script = f"() => {{ const shown = ({SHOWN})(); return {condition} && shown; }}"
    return viewer.page.wait_for_function(script, polling=30).json_value()


def switch_to(viewer: Viewer, text: str, kind: str) -> None:
    viewer.page.check(f"#switch input[value='{kind}']")
    viewer.write(text)
    viewer.page.press("#prompt textarea", "Enter")


@pytest.mark.slow
def test_the_memory_shows_the_sink_and_the_window_and_what_a_switch_does_to_them(
    visit: Callable[..., Viewer], judged: Served
) -> None:
    viewer = visit(served=judged)
    viewer.start(MEADOW)
    shown = shown_when(viewer, "shown.chunk >= 4")
    ((now, is_same),) = shown["now"]
    assert is_same and shown["sink"] == [[0, True]]
    assert shown["window"] == [[now - 2, True], [now - 1, True]], "as in the strip"
    assert shown["kind"] == "" and shown["event"] == ""

    switch_to(viewer, JUMP, "soft")
    shown = shown_when(viewer, "shown.kind === 'soft'")
    assert shown["event"].startswith("Recached for the new prompt at 0:0")
    first_frame = viewer.page.locator("#timeline .prompt >> nth=1").get_attribute("data-start")
    assert float(first_frame) * 16 == 9 + 12 * (int(shown["switchChunk"]) - 1), "where the prompt begins"
    assert shown["sink"] == [[0, True]], "the sink stays"

    switch_to(viewer, MEADOW, "hard")
    shown = shown_when(viewer, "shown.kind === 'hard'")
    assert shown["event"].startswith("Cut at 0:")
    cut = int(shown["switchChunk"])
    shown = shown_when(viewer, f"shown.chunk > {cut}")
    assert shown["sink"] == [[cut, True]], "a new sink"
    assert viewer.errors == []


@pytest.mark.slow
def test_fit_and_similarity_are_drawn_and_are_there_again_after_a_reload(
    visit: Callable[..., Viewer], judged: Served
) -> None:
    viewer = visit(served=judged)
    viewer.page.get_by_role("tab", name="Memory").click()
    viewer.start(MEADOW)
    viewer.page.wait_for_selector("#memory .chart figcaption .fit:has-text('fits its prompt 100 %')")
    switch_to(viewer, JUMP, "soft")
    viewer.page.wait_for_selector("#memory .chart figcaption .fit:has-text('fits its prompt 75 %')")
    similarity = "#memory .chart figcaption .similarity"
    assert "100 %" not in viewer.text(similarity), "another colour than the sink's"
    assert (
        viewer.page.locator("#memory svg")
        .get_attribute("aria-label")
        .startswith("fits its prompt 75 %, like")
    )
    assert viewer.page.locator("#memory svg .mark.soft").count() == 1

    chunk = int(viewer.page.locator("#memory").get_attribute("data-chunk"))
    viewer.page.reload()
    viewer.wait("data.state === 'playing'")
    viewer.page.wait_for_function("document.querySelectorAll('#memory .sink img').length === 1")
    assert int(viewer.page.locator("#memory").get_attribute("data-chunk")) >= chunk - 1
    viewer.page.wait_for_selector("#memory svg .mark.soft", state="attached")
    points = viewer.page.locator("#memory polyline.fit").evaluate_all(
        "(all) => all.flatMap((one) => one.getAttribute('points').split(' '))"
    )
    tops = [point.split(",")[1] for point in points]
    assert {"4", "27"} <= set(tops), "all of what was seen before, and three quarters"

    viewer.page.click("#timeline [data-chunk='2']")
    shown = shown_when(viewer, "shown.moment === 'Looking back' && shown.chunk === 2")
    assert shown["sink"] == [[0, True]]
    assert viewer.errors == []


@pytest.mark.slow
def test_the_stages_of_a_prompt_add_up_to_what_the_viewer_waited(visit: Callable[..., Viewer]) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait("data.frame > 20")
    assert not viewer.page.is_visible("#player .meter")
    before = ""
    for kind in ("soft", "hard", "keep"):
        switch_to(viewer, f"{JUMP} {kind}", kind)
        viewer.wait(f"data.stages !== undefined && data.stages !== {json.dumps(before)}")
        before = viewer.data["stages"]
        stages, delay = json.loads(viewer.data["stages"]), 1000 * float(viewer.data["delay"])
        untimed = {"text"} if kind == "keep" else {"text", "remember"}
        assert list(stages) == [name for name in (*STAGES, "sent", "shown") if name not in untimed]
        assert all(ms >= 0 for ms in stages.values())
        assert abs(sum(stages.values()) - delay) <= 0.05 * delay
        assert stages["denoise"] >= 100, "the model of test cards sleeps so long"
        assert kind != "keep" or stages["remember"] >= 25
        total, _, words = viewer.text("#player .meter .total").partition(" ")
        assert abs(float(total) - delay / 1000) < 0.011 and words == "s by stage"
        assert viewer.page.locator("#player .meter dl div").count() == len(stages)
    viewer.page.wait_for_selector("#server-status >> text=/of 4 slots in use .* min left$/")


WARN = """(warning) => {
  const publish = (name, detail) => window.dispatchEvent(new CustomEvent(`longlive:${name}`, { detail }));
  publish('open', { token: 'nobody', take: 'a1b2c3d4' });
  const chunk = { chunk: 0, first_frame: 0, num_frames: 9, fps: 16, ends_chunk: true, prompt_index: 0 };
  const attended = { sink: [], window: [], switch: null };
  publish('segment', { ...chunk, prompt: '', thumbnail: '', attended, warning, fit: null, similarity: 1 });
  publish('playhead', { seconds: 0.1 });
}"""


def test_pictures_that_stand_still_are_mentioned(visit: Callable[..., Viewer]) -> None:
    viewer = visit()
    viewer.page.get_by_role("tab", name="Memory").click()
    viewer.page.evaluate(WARN, PICTURE_WARNINGS["still"])
    viewer.page.wait_for_selector("#memory .warning:has-text('has stood still')")
    assert viewer.page.locator("#memory .fit").is_hidden(), "this model has no judge"
