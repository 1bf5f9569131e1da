"""The panel *Open and share* in a real browser: session files, marks in the timeline, links, bad files."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from longlive.generation.session_file import SessionRecord
from tests.browser.conftest import Viewer
from tests.support.fakes import Served
from tests.support.run_reader import wait_for

pytestmark = pytest.mark.browser

MEADOW, CUBE = "a red ball stands on a green meadow", "a blue cube <b>rolls</b> on snow"
FILE = "#open-session input[type=file]"
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
KEEP_COPY = """Object.defineProperty(navigator, 'clipboard', {
  value: { writeText: async (text) => { window.copied = text; } },
})"""


def part(viewer: Viewer, selector: str) -> Locator:
    return viewer.page.locator(f"#open-session {selector}")


def show_panel(viewer: Viewer) -> None:
    viewer.page.get_by_role("tab", name="Open and share").click()


def choose(viewer: Viewer, content: bytes, name: str = "my video.json") -> None:
    show_panel(viewer)
    file = {"name": name, "mimeType": "application/json", "buffer": content}
    viewer.page.set_input_files(FILE, files=[file])  # type: ignore[list-item]


def content_of(record: SessionRecord, **changes: Any) -> bytes:
    values = asdict(record) | {"version": 1, "stream": record.stream.options} | changes
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()


def made_once(viewer: Viewer, served: Served) -> SessionRecord:
    """What is recorded of a video with a cut, which the viewer has made and stopped."""
    viewer.start(MEADOW)
    viewer.wait("data.frame > 20")
    viewer.write(CUBE)
    viewer.page.check("#switch input[value=hard]")
    viewer.page.click("#send")
    viewer.wait("data.prompt === '1'")
    viewer.page.click("#stop")
    viewer.wait("data.files")
    record = next(iter(served.engine.runs)).store.record()
    assert record is not None
    show_panel(viewer)
    return record


def marked(viewer: Viewer, answer: str) -> list[int]:
    """The numbers of the chunks that have this mark."""
    cells = viewer.page.locator(f"#timeline [data-take][data-chunk][data-verified={answer}]")
    return [int(cell.get_attribute("data-chunk") or -1) for cell in cells.all()]


@pytest.mark.slow
def test_a_session_file_is_made_again_with_a_mark_on_each_chunk(
    visit: Callable[..., Viewer], patient_page: Served
) -> None:
    viewer = visit(served=patient_page)
    record = made_once(viewer, patient_page)
    count = len(record.chunks)
    digests = [*record.chunks[:2], "0" * 16, *record.chunks[3:]]
    choose(viewer, content_of(record, chunks=digests))
    expect(part(viewer, ".name")).to_have_text("my video.json")
    expect(part(viewer, ".facts")).to_contain_text("Model test cards, seed 7, 0:0")
    expect(part(viewer, ".facts")).to_contain_text(f"({count} chunks)")
    expect(part(viewer, ".scenes li span").last).to_have_text(CUBE)
    expect(part(viewer, ".scenes li em").last).to_have_text("cut")
    assert len(list(patient_page.engine.runs)) == 1, "nothing is made before the click"
    viewer.page.click("#verify")
    viewer.page.wait_for_function(f"document.querySelectorAll('#timeline [data-verified]').length >= {count}")
    assert marked(viewer, "no") == [2]
    assert marked(viewer, "yes") == [number for number in range(count) if number != 2]
    sum_text = f"{count - 1} of {count} chunks are the same; chunk 2 is the first that differs."
    expect(part(viewer, ".sum")).to_have_text(sum_text)
    expect(part(viewer, ".meaning")).to_contain_text("The file was made on cpu with")
    expect(viewer.page.locator("#status p")).to_contain_text("The recorded video ends here")
    viewer.wait(f"data.frame > {record.frames_before(count, patient_page.models.config) + 12}")
    assert viewer.card()[1] == 1, "and goes on with its last prompt"
    viewer.page.reload()
    viewer.wait("data.state === 'playing'")
    viewer.page.wait_for_function("document.querySelectorAll('#timeline [data-verified=no]').length === 1")
    expect(part(viewer, ".sum")).to_have_text(sum_text)
    assert viewer.errors == []


@pytest.mark.slow
def test_a_share_link_makes_the_same_video_in_another_browser(
    visit: Callable[..., Viewer], patient_page: Served
) -> None:
    viewer = visit(served=patient_page)
    expect(part(viewer, "#share")).to_be_disabled()
    record = made_once(viewer, patient_page)
    cards = viewer.downloaded_cards()
    viewer.page.evaluate(NO_CLIPBOARD)
    viewer.page.click("#share")
    expect(part(viewer, ".note")).to_have_text("Copy this link:")
    link = part(viewer, ".link").input_value()
    assert link.startswith(f"{patient_page.url}#video=1.")
    num_runs = len(list(patient_page.engine.runs))

    other = visit(link.removeprefix(patient_page.url), served=patient_page)
    expect(part(other, ".name")).to_have_text("Shared video")
    expect(other.page.locator("#panels [role=tab][aria-selected=true]")).to_have_text("Open and share")
    expect(part(other, ".scenes li span").last).to_have_text(CUBE)
    expect(other.page.locator("#status p")).to_contain_text("made when you press Play it")
    assert len(list(patient_page.engine.runs)) == num_runs and other.data["state"] == "idle"
    other.page.click("#verify")
    end = record.frames_before(len(record.chunks), patient_page.models.config)
    other.wait(f"data.frame >= {end}")
    expect(part(other, ".sum")).to_contain_text(f"{len(record.chunks)} of {len(record.chunks)} chunks")
    other.page.click("#stop")
    other.wait("data.files")
    assert other.downloaded_cards()[:end] == cards[:end]
    assert marked(other, "yes") == marked(other, "no") == []
    assert viewer.errors == other.errors == []


@pytest.mark.slow
def test_a_video_of_this_tab_is_verified_as_another_take_and_left_with_a_prompt(
    visit: Callable[..., Viewer], patient_page: Served
) -> None:
    viewer = visit(served=patient_page)
    made_once(viewer, patient_page)
    viewer.page.evaluate(KEEP_COPY)
    viewer.page.click("#share")
    expect(part(viewer, ".note")).to_contain_text("The link is copied")
    assert viewer.page.evaluate("window.copied").startswith(f"{patient_page.url}#video=1.")
    part(viewer, ".again").click()
    expect(viewer.page.locator("#timeline .take")).to_have_count(2)
    viewer.page.wait_for_function("document.querySelectorAll('#timeline [data-verified=yes]').length >= 2")
    viewer.write("another way")
    viewer.page.click("#send")
    expect(viewer.page.locator("#player .caption")).to_have_text("another way")
    expect(part(viewer, ".sum")).to_contain_text("from there on it is another video")
    assert viewer.errors == []


@pytest.mark.slow
def test_what_cannot_be_opened_is_told_in_words_and_nothing_breaks(
    visit: Callable[..., Viewer], served: Served
) -> None:
    viewer = visit("#video=1.eNqrVspOrQQ")
    expect(part(viewer, ".note")).to_contain_text("This link cannot be opened")
    note = part(viewer, ".note")
    for content, words in (
        (b"\x89PNG\r\n\x1a\n", "cannot be read: it is not UTF-8"),
        (b"a red ball", "cannot be read: it is not valid"),
        (b'{"version": 9}', "has version 9"),
        (b'{"version": 1, "prompts": "<img src=x onerror=alert(1)>"}', "does not make sense"),
        (b" " * 4_000_000, "has 4.0 MB; a session file of at most 3 MB can be opened"),
    ):
        choose(viewer, content)
        expect(note).to_contain_text(words)
        expect(part(viewer, ".opened")).to_be_hidden()
    viewer.page.evaluate("location.hash = '#video=9.abc'")
    expect(note).to_contain_text("has version '9'")
    viewer.page.evaluate(
        "window.dispatchEvent(new CustomEvent('longlive:verify', { detail: { token: 'gone' } }))"
    )
    expect(viewer.page.locator(".toast-body")).to_contain_text("no longer kept")
    viewer.start(MEADOW)
    assert viewer.errors == []


@pytest.mark.slow
def test_the_prompts_of_another_model_are_made_with_the_one_that_runs(
    visit: Callable[..., Viewer], patient_page: Served
) -> None:
    viewer = visit(served=patient_page, viewport={"width": 390, "height": 800})
    record = replace(made_once(viewer, patient_page), model="wan", model_digest="ab" * 32)
    drop = """([text]) => {
      const data = new DataTransfer();
      data.items.add(new File([text], "dropped.json"));
      document.querySelector("#open-session .sheet").dispatchEvent(
        new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    viewer.page.evaluate(drop, [content_of(record).decode()])
    expect(part(viewer, ".problem")).to_have_text(
        "This video was made with the model wan, but test cards runs here."
    )
    expect(viewer.page.locator("#verify")).to_be_hidden()
    assert viewer.overflow() <= 0
    part(viewer, ".as-prompts").focus()
    viewer.page.keyboard.press("Enter")
    viewer.wait("data.prompt === '1' && data.state === 'playing'")
    expect(viewer.page.locator("#player .caption")).to_have_text(CUBE)
    expect(part(viewer, ".result")).to_be_hidden()
    part(viewer, ".close").click()
    assert viewer.page.evaluate(f"document.activeElement === document.querySelector('{FILE}')")
    assert viewer.errors == []


@pytest.mark.slow
def test_the_compatible_player_makes_a_file_again_too(
    visit: Callable[..., Viewer], patient_page: Served
) -> None:
    viewer = visit("?player=hls", served=patient_page)
    known = patient_page.engine.start("eve", MEADOW, seed=7)
    wait_for(lambda: known.num_chunks >= 4)
    known.stop("user")
    record = known.store.record()
    assert record is not None
    choose(viewer, content_of(record))
    viewer.page.click("#verify")
    viewer.page.wait_for_function("document.querySelectorAll('#timeline [data-verified=yes]').length >= 4")
    viewer.wait("data.frame > 5")
    assert viewer.data["mode"] == "compatible" and viewer.errors == []
