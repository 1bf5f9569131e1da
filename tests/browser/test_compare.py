"""Comparing in a real browser: three takes with one click, in step, named, renamed, deleted, gone on with."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import READ_CARD, Viewer, first_frame
from tests.support.fakes import Served

pytestmark = pytest.mark.browser

MEADOW, CUBE = "a red ball stands on a green meadow", "a blue cube"

IN_STEP = f"""() => {{
  const card = {READ_CARD};
  const cards = [...document.querySelectorAll('#compare video')].map(card);
  const frames = cards.map((one) => one && one[0]);
  const isInStep = !frames.includes(null) && Math.max(...frames) - Math.min(...frames) <= 2;
  if (isInStep && frames[0] !== window.lastFrame) window.inStep = (window.inStep ?? 0) + 1;
  if (!isInStep) window.inStep = 0;
  window.lastFrame = frames[0];
  return window.inStep >= 24;
}}"""
"""Whether 24 pictures have come one after another while no player was more than two from another."""


def players(viewer: Viewer) -> Locator:
    return viewer.page.locator("#compare .take-player")


def lanes(viewer: Viewer) -> Locator:
    return viewer.page.locator("#timeline .take")


def names(viewer: Viewer) -> list[str]:
    return viewer.page.locator("#timeline .take .name").all_inner_texts()


def cards(viewer: Viewer) -> list[tuple[int, int]]:
    """(picture, prompt) that each player shows."""
    videos = viewer.page.locator("#compare video").all()
    return [tuple(video.evaluate(READ_CARD)) for video in videos]


@pytest.fixture
def compared(visit: Callable[..., Viewer], patient_page: Served) -> Viewer:
    """A viewer who has seen six chunks, looked back at the fourth and had all three tried from there."""
    viewer = visit(served=patient_page)
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(6)}")
    viewer.page.get_by_role("tab", name="Compare").click()
    viewer.look_at(3)
    viewer.write(CUBE)
    viewer.page.click("#compare .try-all")
    expect(players(viewer)).to_have_count(3, timeout=60_000)
    return viewer


@pytest.mark.slow
def test_three_takes_play_in_step_and_a_video_goes_on_from_one(
    compared: Viewer, patient_page: Served
) -> None:
    page = compared.page
    assert page.locator("#compare figcaption b").all_inner_texts() == ["Smooth", "Cut", "Drift"]
    page.wait_for_function(IN_STEP, timeout=60_000, polling="raf")
    expect(page.locator("#compare .prompt")).to_have_text([CUBE] * 3)
    page.click("#compare .play")
    page.wait_for_function("[...document.querySelectorAll('#compare video')].every((one) => !one.seeking)")
    stopped = cards(compared)
    assert len(set(stopped)) == 1 and stopped[0][1] == 1, "all stand at the same picture, of the new prompt"
    page.click("#compare .restart")
    frames = "[...document.querySelectorAll('#compare .take-player')].map((one) => one.dataset.frame)"
    page.wait_for_function(f"{frames}.every((frame) => frame < {first_frame(5)})")
    page.wait_for_function("document.querySelector('#compare .play').textContent === 'Play'", timeout=60_000)
    ends = [frame for frame, _ in cards(compared)]
    last = first_frame(11) - 1
    assert ends == [last, last - 3, last], "each stands at its last picture; a cut has shortened a chunk"
    assert names(compared) == ["Take 1", "Smooth", "Cut", "Drift"]
    assert compared.data["state"] == "ended"
    page.evaluate(
        "window.said = []; window.addEventListener('longlive:status', ({ detail }) => said.push(detail))"
    )
    players(compared).nth(2).get_by_role("button", name="Go on with this one").click()
    compared.wait(f"data.state === 'playing' && data.frame > {first_frame(12)}")
    frame, prompt = compared.card("#player .frame > video")
    assert prompt == 1 and frame > first_frame(11)
    assert "A new take goes on from here, exactly as the other one stood." in page.evaluate("said")
    record = next(run for run in patient_page.engine.runs if not run.is_leaving).store.record()
    assert record is not None and len(record.prompts) == 2 and record.reseeds == (), "as it was"
    expect(lanes(compared)).to_have_count(5)
    assert compared.errors == []


@pytest.mark.slow
def test_takes_have_names_files_and_can_be_deleted(compared: Viewer, patient_page: Served) -> None:
    page = compared.page
    lanes(compared).nth(1).get_by_role("button", name="Rename Smooth").click()
    page.keyboard.type("<b>best</b> & most")
    page.keyboard.press("Enter")
    assert names(compared) == ["Take 1", "<b>best</b> & most", "Cut", "Drift"]
    expect(page.locator("#compare figcaption b").first).to_have_text("<b>best</b> & most")
    offered = page.wait_for_selector("#take video").get_attribute("src")  # of the one that had played
    lanes(compared).nth(2).get_by_role("button", name="Download Cut").click()
    page.wait_for_function("(src) => document.querySelector('#take video').src !== src", arg=offered)
    film = compared.downloaded_cards()
    assert film[first_frame(3) - 1 : first_frame(3) + 1] == [(first_frame(3) - 1, 0), (first_frame(3), 1)]
    delete = lanes(compared).nth(2).locator(".delete")
    delete.click()
    expect(delete).to_have_text("Delete?")
    assert len(list(patient_page.engine.runs)) == 4, "asked first"
    delete.click()
    expect(lanes(compared)).to_have_count(3)
    expect(players(compared)).to_have_count(2)
    assert names(compared) == ["Take 1", "<b>best</b> & most", "Drift"]
    assert len(list(patient_page.engine.runs)) == 3
    page.reload()
    compared.wait("data.state !== 'idle'")
    expect(lanes(compared)).to_have_count(3)
    assert names(compared) == ["Take 1", "<b>best</b> & most", "Drift"]
    page.get_by_role("tab", name="Compare").click()
    for name in ("<b>best</b> & most", "Drift"):
        page.locator("#compare .chosen").get_by_label(name, exact=True).check()
    expect(players(compared)).to_have_count(2)
    page.wait_for_function(IN_STEP, timeout=60_000, polling="raf")
    assert compared.errors == []


@pytest.mark.slow
def test_the_take_that_plays_can_be_seen_beside_the_one_that_it_left(
    visit: Callable[..., Viewer], patient_page: Served
) -> None:
    viewer = visit(served=patient_page)
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(6)}")
    viewer.branch_at(3, CUBE)
    viewer.wait(f"data.prompt === '1' && data.frame > {first_frame(6)}")
    expect(lanes(viewer)).to_have_count(2)
    assert lanes(viewer).nth(1).locator(".from").inner_text() == "from 0:02"
    assert lanes(viewer).nth(1).locator(".delete").is_disabled(), "it plays"
    indents = [lane.locator(".show").bounding_box()["x"] for lane in lanes(viewer).all()]  # type: ignore[index]
    assert indents[0] < indents[1], "below the take that it left"
    viewer.page.get_by_role("tab", name="Compare").click()
    for name in ("Take 1", "Take 2"):
        viewer.page.locator("#compare .chosen").get_by_label(name, exact=True).check()
    viewer.page.wait_for_function(IN_STEP, timeout=60_000, polling="raf")
    assert {prompt for _, prompt in cards(viewer)} == {0, 1}
    assert players(viewer).nth(1).locator(".go").is_disabled()
    live = int(viewer.data["frame"])
    viewer.wait(f"data.frame > {live + 12}")
    assert viewer.errors == []


@pytest.mark.slow
def test_what_cannot_be_tried_is_said_in_the_panel_and_a_comparison_can_be_cancelled(
    visit: Callable[..., Viewer], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = visit()
    viewer.page.get_by_role("tab", name="Compare").click()
    viewer.page.click("#compare .try-all")
    message = viewer.page.locator("#compare .message")
    expect(message).to_contain_text("Start a video first")
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(2)}")
    viewer.write("")
    viewer.page.click("#compare .try-all")
    expect(message).to_contain_text("Type a prompt first")
    viewer.write(CUBE)
    monkeypatch.setattr(served.models, "chunk_s", 2.0)
    viewer.page.click("#compare .try-all")
    viewer.page.click("#compare .cancel")
    expect(message).to_contain_text("Cancelled")
    expect(viewer.page.locator("#compare .try-all")).to_be_enabled()


@pytest.mark.slow
def test_a_tab_that_is_closed_meanwhile_leaves_nothing(
    visit: Callable[..., Viewer], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = visit()
    viewer.page.get_by_role("tab", name="Compare").click()
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(2)}")
    monkeypatch.setattr(served.models, "chunk_s", 5.0)  # all three would take longer than the wait below
    viewer.page.click("#compare .try-all")
    viewer.page.wait_for_function("document.querySelector('#compare progress').value >= 1")
    viewer.page.close()
    served.wait_until_empty()
