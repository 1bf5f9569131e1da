"""The storyboard in a real browser: a table that fills, in which prompts to come are changed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Viewer

pytestmark = pytest.mark.browser

MEADOW, JUMP, CUBE = (
    "a red ball stands on a green meadow",
    "the red ball jumps on a green meadow",
    "a blue cube",
)
HOSTILE = "<img src=x onerror=alert(1)> a red ball"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def rows(viewer: Viewer) -> list[tuple[float, str, str]]:
    """Second, text and state of each row, as a person sees them."""
    read = """(all) => all.map((row) => {
      const text = row.querySelector('.text > *');
      return [Number(row.dataset.at), text.value ?? text.textContent, row.dataset.state];
    })"""
    found = viewer.page.locator("#storyboard tbody [data-row][data-at]").evaluate_all(read)
    return [(at, text, state) for at, text, state in found]


def texts(viewer: Viewer, state: str) -> list[str]:
    return [text for _, text, other in rows(viewer) if other == state]


def note(viewer: Viewer) -> Locator:
    return viewer.page.locator("#storyboard .note span")


def add(viewer: Viewer, time: str, text: str, kind: str = "Smooth") -> None:
    viewer.page.fill("#storyboard .adding input", time)
    viewer.page.fill("#storyboard .adding textarea", text)
    viewer.page.select_option("#storyboard .adding select", label=kind)
    viewer.page.press("#storyboard .adding textarea", "Enter")


def open_file(viewer: Viewer, name: str, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    file = {"name": name, "mimeType": "application/json", "buffer": data}
    viewer.page.set_input_files("#storyboard .file", files=[file])


def wait_for_rows(viewer: Viewer, state: str, wanted: list[str]) -> None:
    script = """([state, wanted]) => {
      const found = [...document.querySelectorAll(`#storyboard [data-row][data-state=${state}] .text > *`)];
      return JSON.stringify(found.map((one) => one.value ?? one.textContent)) === JSON.stringify(wanted);
    }"""
    viewer.page.wait_for_function(script, arg=[state, wanted])


def field(viewer: Viewer, text: str, name: str) -> Locator:
    """A field of the row with this prompt."""
    number = next(n for n, row in enumerate(rows(viewer)) if row[1] == text)
    return viewer.page.locator(f"#storyboard [data-row='{number}'] .{name} > *")


@pytest.mark.slow
def test_rows_that_were_written_before_are_shown_at_their_seconds_and_can_be_changed_till_then(
    visit: Callable[..., Viewer],
) -> None:
    viewer = visit()
    viewer.write(MEADOW)
    assert rows(viewer) == [(0, MEADOW, "first")]
    add(viewer, "0:04", JUMP, "Cut")
    add(viewer, "", CUBE)
    assert rows(viewer)[1:] == [(4, JUMP, "draft"), (9, CUBE, "draft")]
    viewer.page.click("#start")
    viewer.wait("data.frame >= 0")
    wait_for_rows(viewer, "scheduled", [JUMP, CUBE])
    assert texts(viewer, "begun") == [MEADOW]
    expect(viewer.page.locator("#timeline .scheduled .text")).to_have_text([JUMP, CUBE])

    field(viewer, CUBE, "time").fill("6.1")
    field(viewer, CUBE, "time").press("Enter")
    viewer.page.wait_for_function("document.querySelector('#storyboard [data-row=\"2\"]')?.dataset.at < 7")
    chunk = int(field(viewer, CUBE, "time").locator("xpath=ancestor::tr").get_attribute("data-chunk") or 0)
    first = 9 + 12 * (chunk - 1)
    assert 6.1 <= first / 16 < 6.1 + 0.75
    viewer.page.locator("#timeline .scheduled .remove").first.click()
    wait_for_rows(viewer, "scheduled", [CUBE])
    expect(note(viewer)).to_contain_text("Removed the prompt at 0:04")
    viewer.record_cards()
    wait_for_rows(viewer, "begun", [MEADOW, CUBE])
    viewer.wait("data.prompt === '1'")
    viewer.wait(f"data.frame > {first + 4}")
    cards = viewer.recorded_cards()
    assert {prompt for at, _, prompt in cards if at < first} == {0}, "the one that was removed never came"
    assert {prompt for at, _, prompt in cards if at >= first} == {1}
    expect(viewer.page.locator("#player .caption")).to_have_text(CUBE)
    current = viewer.page.locator("#storyboard [aria-current] .text")
    expect(current).to_have_text(CUBE)
    assert (
        viewer.page.locator("#storyboard [data-state=begun] :is(input, textarea, select, button)").count()
        == 0
    )
    assert viewer.errors == []


@pytest.mark.slow
def test_an_example_fills_the_table_and_a_prompt_of_ones_own_replaces_it_till_it_is_put_back(
    visit: Callable[..., Viewer],
) -> None:
    viewer = visit()
    viewer.page.click("#examples .example >> nth=0")
    viewer.wait("data.frame >= 0")
    wait_for_rows(viewer, "begun", [MEADOW, JUMP])
    add(viewer, "0:40", CUBE, "Drift")
    wait_for_rows(viewer, "scheduled", [CUBE])
    viewer.write("snow")
    viewer.page.press("#prompt textarea", "Enter")
    expect(note(viewer)).to_contain_text("Your prompt replaced 1 prompt to come.")
    viewer.page.click("#storyboard .back")
    wait_for_rows(viewer, "begun", [MEADOW, JUMP, "snow"])
    wait_for_rows(viewer, "scheduled", [CUBE])
    viewer.page.click("#stop")
    expect(viewer.page.locator("#storyboard .about")).to_contain_text("in grey were not reached")
    viewer.page.click("#storyboard .reuse")
    expect(viewer.page.locator("#prompt textarea")).to_have_value(MEADOW)
    assert [text for _, text, _ in rows(viewer)] == [MEADOW, JUMP, "snow", CUBE]
    viewer.page.reload()
    wait_for_rows(viewer, "draft", [JUMP, "snow", CUBE])
    viewer.start(MEADOW)
    wait_for_rows(viewer, "scheduled", [JUMP, "snow", CUBE])


def test_files_are_saved_and_opened_again_and_what_is_none_is_said(
    visit: Callable[..., Viewer], tmp_path: Path
) -> None:
    viewer = visit()
    prompts = [{"at": 0, "text": MEADOW}, {"at": 3, "text": HOSTILE, "switch": "hard"}]
    prompts += [{"at": 12.5, "text": CUBE, "switch": "keep"}]
    open_file(viewer, "mine.json", json.dumps({"prompts": prompts}))
    wait_for_rows(viewer, "draft", [HOSTILE, CUBE])
    expect(viewer.page.locator("#prompt textarea")).to_have_value(MEADOW)
    with viewer.page.expect_download() as saved:
        viewer.page.click("#storyboard .save[data-format=json]")
    assert saved.value.suggested_filename == "storyboard.json"
    assert json.loads(Path(saved.value.path()).read_text()) == {"prompts": prompts}
    with viewer.page.expect_download() as saved:
        viewer.page.click("#storyboard .save[data-format=jsonl]")
    line = Path(saved.value.path()).read_text()
    assert json.loads(line) == {"prompts": [MEADOW, HOSTILE, CUBE]} and line.count("\n") == 1

    for name, content, words in (
        ("broken.json", '{"prompts": [', "It must hold"),
        ("late.json", '{"prompts": [{"at": 2, "text": "a"}]}', "first prompt must be at 0"),
        ("empty.json", '{"prompts": [{"at": 0, "text": " "}]}', "The prompt is empty"),
        ("kind.json", '{"prompts": [{"at": 0, "text": "a", "switch": "wipe"}]}', "must be one of"),
        (
            "twice.json",
            '{"prompts": [{"at": 0, "text": "a"}, {"at": 0, "text": "b"}]}',
            "two prompts begin then",
        ),
        ("many.json", json.dumps({"prompts": ["a red ball on a meadow"] * 10_000}), "10,000 prompts"),
        ("long.json", json.dumps({"prompts": ["a" * 300_000]}), "characters"),
        ("picture.json", "\x89PNG\r\n" + "x" * 90, "It must hold"),
    ):
        open_file(viewer, name, content)
        expect(note(viewer)).to_contain_text(words)
    assert texts(viewer, "draft") == [HOSTILE, CUBE], "nothing was lost"

    open_file(viewer, "two.jsonl", line + json.dumps({"prompts": [CUBE, JUMP]}) + "\n")
    expect(viewer.page.locator("#storyboard tbody [data-row][data-at='20']")).to_have_count(1)
    assert [at for at, _, _ in rows(viewer)] == [0, 10, 20]
    assert texts(viewer, "draft") == [HOSTILE, CUBE]
    expect(viewer.page.locator("#storyboard .choice")).to_contain_text("of 2")
    viewer.page.fill("#storyboard .choice input", "2")
    viewer.page.press("#storyboard .choice input", "Enter")
    wait_for_rows(viewer, "draft", [JUMP])

    utf16 = f"{json.dumps({'prompts': [MEADOW, HOSTILE]})}\r".encode("utf-16")
    open_file(viewer, "mac.JSONL", utf16)
    wait_for_rows(viewer, "draft", [HOSTILE])
    open_file(viewer, "lines.txt", f"{CUBE}\r{MEADOW}\r")
    expect(viewer.page.locator("#storyboard .choice")).to_contain_text("of 2")
    wait_for_rows(viewer, "draft", [])
    assert viewer.errors == []


@pytest.mark.slow
def test_text_of_others_is_only_text_and_an_import_while_it_plays_takes_what_is_to_come(
    visit: Callable[..., Viewer],
) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    prompts = [
        {"at": 0, "text": "past"},
        {"at": 50, "text": HOSTILE},
        {"at": 60, "text": CUBE, "switch": "hard"},
    ]
    open_file(viewer, "mine.json", json.dumps({"prompts": prompts}))
    expect(note(viewer)).to_have_text("Read 3 prompts. 1 prompt of a time that has passed was left out.")
    wait_for_rows(viewer, "scheduled", [HOSTILE, CUBE])
    expect(viewer.page.locator("#timeline .scheduled .text").first).to_have_text(HOSTILE)
    viewer.page.click("#storyboard .clear")
    expect(viewer.page.locator("#timeline .scheduled")).to_have_count(0)
    expect(note(viewer)).to_contain_text("Removed 2 prompts.")
    viewer.page.click("#storyboard .back")
    wait_for_rows(viewer, "scheduled", [HOSTILE, CUBE])
    assert viewer.page.locator("#storyboard img, #timeline .prompts img").count() == 0
    assert viewer.errors == [] and not [line for line in viewer.lines if "onerror" in line]


def test_by_keyboard_on_a_phone_with_words_for_every_mistake(visit: Callable[..., Viewer]) -> None:
    viewer = visit(**PHONE)
    viewer.write(MEADOW)
    page = viewer.page
    for time, text, words in (
        ("soon", JUMP, "This is no time"),
        ("0", JUMP, "Choose a time after 0:00"),
        ("1:75", JUMP, "This is no time"),
        ("5", " ", "The prompt is empty"),
    ):
        add(viewer, time, text)
        expect(note(viewer)).to_contain_text(words)
    add(viewer, "1:05.5", JUMP)
    add(viewer, "65.5", CUBE)
    expect(note(viewer)).to_contain_text("Another prompt begins at 1:05.5")
    page.fill("#storyboard .adding input", "70")
    page.press("#storyboard .adding input", "Enter")
    wait_for_rows(viewer, "draft", [JUMP, CUBE])
    time = page.get_by_label("Time of prompt 2")
    time.fill("never")
    time.press("Enter")
    expect(time).to_have_attribute("aria-invalid", "true")
    expect(time).to_have_value("never")
    time.press("Escape")
    expect(time).to_have_value("1:05.5")
    time.fill("2:00")
    time.press("Enter")
    assert [(at, text) for at, text, _ in rows(viewer)[1:]] == [(70, CUBE), (120, JUMP)]
    expect(page.get_by_label("Time of prompt 3")).to_be_focused()
    page.get_by_label("Kind of prompt 2").select_option("Drift")
    page.get_by_label("Remove prompt 3").focus()
    page.keyboard.press("Enter")
    wait_for_rows(viewer, "draft", [CUBE])
    expect(page.get_by_label("Remove prompt 2")).to_be_focused()
    page.keyboard.press("Space")
    wait_for_rows(viewer, "draft", [])
    expect(page.get_by_label("Another prompt", exact=True)).to_be_focused()
    assert viewer.overflow() <= 0 and viewer.errors == []
