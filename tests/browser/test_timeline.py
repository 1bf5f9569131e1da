"""The timeline in a real browser: a thumbnail for each chunk, and looking at a moment again."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import READ_CARD, Viewer

pytestmark = pytest.mark.browser

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LIVE, AGAIN = "#player .frame > video", "#player .review video"

MAKE_CHUNKS = """(count) => {
  const publish = (name, detail) => window.dispatchEvent(new CustomEvent(`longlive:${name}`, { detail }));
  publish('open', { token: 'nobody', take: 'a1b2c3d4' });
  const thumbnail = 'data:image/webp;base64,UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==';
  for (let chunk = 0; chunk < count; chunk++) {
    const place = { chunk, first_frame: 12 * chunk, num_frames: 12, fps: 16, ends_chunk: true };
    const prompt = { prompt_index: Math.floor(chunk / 100), prompt: `prompt ${Math.floor(chunk / 100)}` };
    publish('segment', { ...place, ...prompt, thumbnail });
  }
  publish('playhead', { seconds: 0.75 * count - 0.5 });
}"""

# Turn the wheel, which holds the strip there for a while; what is there once the chunk has a cell.
SCROLL_TO = """async (strip, chunk) => {
  strip.dispatchEvent(new Event('wheel'));
  strip.scrollLeft = 72 * chunk;
  for (;;) {
    const cell = strip.querySelector(`[data-chunk='${chunk}']`);
    const count = (one, what) => one.querySelectorAll(what).length;
    if (cell) return { cells: count(strip, '.chunk'), images: count(cell, 'img') };
    await new Promise(requestAnimationFrame);
  }
}"""


def first_frame(chunk: int) -> int:
    return 9 + 12 * (chunk - 1) if chunk else 0


def chunks(viewer: Viewer) -> list[int]:
    """The chunks that the strip shows with a thumbnail."""
    shown = viewer.page.locator("#timeline [data-take][data-chunk]:has(img)")
    return sorted(shown.evaluate_all("(all) => all.map((one) => Number(one.dataset.chunk))"))


def wait_for_chunk(viewer: Viewer, chunk: int) -> None:
    viewer.page.wait_for_selector(f"#timeline [data-chunk='{chunk}'] img", state="attached")


@pytest.fixture
def watching(visit: Callable[..., Viewer]) -> Viewer:
    """A viewer who has seen eight chunks of a video that goes on."""
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(8)}")
    return viewer


@pytest.mark.slow
def test_every_chunk_has_its_thumbnail_in_order(watching: Viewer) -> None:
    found = chunks(watching)
    assert found == list(range(len(found))) and len(found) >= 9
    assert (
        len({one.get_attribute("data-take") for one in watching.page.locator("#timeline .chunk").all()}) == 1
    )
    for chunk in (0, 1, 5, 7):
        card = watching.page.locator(f"#timeline [data-chunk='{chunk}'] img").evaluate(READ_CARD)
        middle = first_frame(chunk) + 6 if chunk else 5
        assert card == [middle, 0], "the picture in the middle of the chunk, in the colours of the video"
    left = watching.page.locator("#timeline .chunk").evaluate_all("(all) => all.map((one) => one.offsetLeft)")
    assert left == sorted(left)


@pytest.mark.slow
def test_the_prompts_stand_above_their_chunks_and_those_to_come_after_them(watching: Viewer) -> None:
    watching.page.fill("#storyboard .adding .time input", "5:00")
    watching.page.fill("#storyboard .adding textarea", "a prompt to come")
    watching.page.click("#storyboard .add")
    expect(watching.page.locator("#timeline .band.waiting .text")).to_have_text("a prompt to come")
    watching.write(JUMP)
    watching.page.press("#prompt textarea", "Enter")  # cancels what is scheduled
    watching.wait("data.prompt === '1'")
    watching.page.wait_for_function("!document.querySelector('#timeline .band.waiting')")
    bands = watching.page.locator("#timeline .band")
    expect(bands).to_have_count(2)
    assert [one.inner_text() for one in bands.all()] == [MEADOW, JUMP]
    places = """() => [...document.querySelectorAll('#timeline .band')].map(
      (one) => [one.offsetLeft, one.offsetLeft + one.offsetWidth])"""
    (first, end), (next_first, _) = watching.page.evaluate(places)  # in one step: they are drawn anew often
    switch = float(watching.page.locator("#timeline .prompt >> nth=1").get_attribute("data-start")) * 16
    chunk = next(one for one in range(99) if first_frame(one) == switch)
    cell = watching.page.locator(f"#timeline [data-chunk='{chunk}']").evaluate("(one) => one.offsetLeft")
    assert first == 0 and next_first == cell and 0 <= next_first - end <= 3
    colour = "(all) => all.map((one) => getComputedStyle(one).backgroundColor)"
    colours = bands.locator("i").evaluate_all(colour)
    dots = watching.page.locator("#timeline .dot").evaluate_all(colour)
    assert colours == dots and len(set(colours)) == 2
    for number in range(chunk - 2, chunk + 1):
        card = watching.page.locator(f"#timeline [data-chunk='{number}'] img").evaluate(READ_CARD)
        frame, prompt = card
        assert prompt == int(number == chunk), "what was dropped for it is gone"
        assert frame - first_frame(number) in (6, 8), "the middle of the chunk, or of its second part"


@pytest.mark.slow
def test_the_playhead_stands_on_the_chunk_that_is_seen(watching: Viewer) -> None:
    distance = """() => {
      const frame = Number(document.querySelector('#player').dataset.frame);
      const chunk = Math.floor((frame + 3) / 12);
      const cell = document.querySelector(`#timeline [data-chunk='${chunk}']`).getBoundingClientRect();
      const { left } = document.querySelector('#timeline .marker').getBoundingClientRect();
      return (left - cell.left) / cell.width - (((frame + 3) % 12) / 12);
    }"""
    for _ in range(5):
        assert abs(watching.page.evaluate(distance)) < 0.2
        watching.page.wait_for_timeout(150)


@pytest.mark.slow
def test_a_click_on_a_chunk_shows_it_again_while_the_video_goes_on(watching: Viewer) -> None:
    watching.page.click("#timeline [data-chunk='3']")
    watching.wait("Number(data.review) > 0")
    first, (card, prompt), last = (
        int(watching.data["review"]),
        watching.card(AGAIN),
        int(watching.data["review"]),
    )
    assert first_frame(3) <= first <= first_frame(6)
    assert first - 1 <= card <= last + 1 and prompt == 0
    box = watching.page.locator(AGAIN).bounding_box()
    assert box == watching.page.locator(LIVE).bounding_box(), "it covers the live video"
    assert watching.text("#player .moment").startswith("Looking back, 0:0")

    frame = int(watching.data["frame"])
    watching.wait(f"Number(data.review) >= {first_frame(5) + 6}")
    watching.wait(f"data.frame >= {frame + 12}")  # the live player goes on
    before, (live, _) = int(watching.data["frame"]), watching.card(LIVE)
    assert before - 1 <= live <= int(watching.data["frame"]) + 1
    again = "Number(document.querySelector('.chunk.again').dataset.chunk)"
    watching.wait(f"{again} >= 5 && {again} === Math.floor((Number(data.review) + 3) / 12)")

    watching.page.click("#player .to-live")
    assert not watching.page.is_visible("#player .review") and "review" not in watching.data
    assert watching.page.locator("#player video").count() == 1
    frame = int(watching.data["frame"])
    watching.wait(f"data.state === 'playing' && data.frame > {frame + 12}")
    assert watching.errors == []


@pytest.mark.slow
def test_looking_back_the_prompt_of_that_moment_is_shown(visit: Callable[..., Viewer]) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.write(JUMP)
    viewer.page.press("#prompt textarea", "Enter")
    viewer.wait("data.prompt === '1' && data.frame > 60")
    viewer.page.click("#timeline [data-chunk='0']")
    viewer.wait("Number(data.review) > 0")
    shown = viewer.page.locator("#player .caption:visible")
    assert shown.inner_text() == MEADOW
    assert viewer.text("#timeline .prompt[aria-current] .text") == MEADOW
    viewer.page.keyboard.press("Escape")
    assert shown.inner_text() == JUMP
    viewer.page.wait_for_function(
        f"document.querySelector('#timeline .prompt[aria-current] .text').textContent === '{JUMP}'"
    )


@pytest.mark.slow
def test_the_strip_is_a_slider_for_keys_and_screen_readers(watching: Viewer) -> None:
    strip = watching.page.get_by_role("slider", name="Timeline")
    strip.focus()
    assert strip.get_attribute("aria-valuetext").startswith("Live, 0:0")
    watching.page.keyboard.press("Home")
    watching.wait("data.review !== undefined && data.review !== '' && Number(data.review) < 9")
    expect(strip).to_have_attribute("aria-valuetext", f"Looking back, 0:00, {MEADOW}")
    expect(strip).to_have_attribute("aria-valuenow", "0")
    watching.page.keyboard.press("ArrowRight")
    watching.wait("Number(data.review) >= 9")
    watching.page.keyboard.press("ArrowRight")
    watching.wait("Number(data.review) >= 21")
    now = int(strip.get_attribute("aria-valuenow"))
    assert now >= 2
    watching.page.keyboard.press("ArrowLeft")
    watching.wait(f"Number(data.review) < {first_frame(now)}")
    watching.page.keyboard.press("End")
    watching.wait("data.review === undefined")
    expect(strip).to_be_focused()
    watching.page.keyboard.press("ArrowLeft")
    watching.wait("Number(data.review) > 0")
    watching.page.keyboard.press("Escape")
    watching.wait("data.review === undefined")
    expect(strip).to_be_focused()


@pytest.mark.slow
def test_live_is_a_button_that_keys_reach_and_the_focus_goes_back_to_the_strip(watching: Viewer) -> None:
    watching.page.focus("#timeline .strip")
    watching.page.keyboard.press("Home")
    watching.wait("Number(data.review) >= 0 && data.review !== ''")
    live = watching.page.get_by_role("button", name="Back to live")
    live.focus()
    watching.page.keyboard.press("Enter")
    watching.wait("data.review === undefined")
    expect(watching.page.locator("#timeline .strip")).to_be_focused()


@pytest.mark.slow
def test_a_moment_seen_again_can_be_paused(watching: Viewer) -> None:
    watching.page.click("#timeline [data-chunk='2']")
    watching.wait("Number(data.review) > 0")
    pause = watching.page.locator("#player .button.again")
    expect(pause).to_have_attribute("aria-label", "Pause the replay")
    pause.click()
    expect(pause).to_have_attribute("aria-label", "Play the replay")
    watching.page.wait_for_timeout(200)
    held, frame = int(watching.data["review"]), int(watching.data["frame"])
    watching.wait(f"data.frame > {frame + 16}")
    assert int(watching.data["review"]) == held and watching.card(AGAIN)[0] == held
    pause.click()
    watching.wait(f"Number(data.review) > {held + 6}")


@pytest.mark.slow
def test_what_is_not_seen_yet_is_not_shown_ahead(watching: Viewer) -> None:
    watching.page.click("#player .pause")
    watching.wait("data.state === 'paused'")
    watching.page.wait_for_timeout(1500)
    last = max(chunks(watching))
    frame = int(watching.data["frame"])
    assert first_frame(last) > frame, "a chunk is ready that was not seen"
    watching.page.locator(f"#timeline [data-chunk='{last}']").click()
    watching.page.wait_for_timeout(300)
    assert "review" not in watching.data
    now = next(one for one in range(99) if first_frame(one + 1) > frame)
    watching.page.locator(f"#timeline [data-chunk='{now - 1}']").click()
    watching.wait("Number(data.review) > 0")
    watching.wait("data.review === undefined")
    assert int(watching.data["frame"]) == frame, "where the live video stands, looking back ends"


@pytest.mark.slow
def test_after_the_end_the_video_can_still_be_looked_at(visit: Callable[..., Viewer], patient_page) -> None:
    viewer = visit(served=patient_page)
    viewer.start(MEADOW)
    viewer.wait("data.frame > 50")
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended'")
    viewer.page.click("#timeline [data-chunk='1']")
    viewer.wait("Number(data.review) > 0")
    assert viewer.card(AGAIN)[0] < int(viewer.data["frame"])
    viewer.wait("data.review === undefined")


@pytest.mark.slow
def test_a_video_that_is_no_longer_kept_is_told_in_words(visit: Callable[..., Viewer], served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait("data.frame > 30")
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended'")
    served.wait_until_empty()
    viewer.page.click("#timeline [data-chunk='1']")
    viewer.page.wait_for_selector("#player .moment >> text=There is no video with this token.")
    viewer.page.click("#player .to-live")
    assert not viewer.page.is_visible("#player .review")


@pytest.mark.slow
def test_another_video_ends_looking_back_and_has_a_strip_of_its_own(watching: Viewer) -> None:
    watching.page.click("#timeline [data-chunk='2']")
    watching.wait("Number(data.review) > 0")
    take = watching.page.locator("#timeline .chunk").first.get_attribute("data-take")
    watching.write(JUMP)
    watching.page.click("#start")
    watching.page.wait_for_function(
        f"document.querySelector('#timeline .chunk img')?.parentNode.dataset.take !== '{take}'"
    )
    assert "review" not in watching.data
    watching.wait("data.frame > 30")
    found = chunks(watching)
    assert found == list(range(len(found))) and len(found) < 9
    assert {one.inner_text() for one in watching.page.locator("#timeline .band").all()} == {JUMP}


@pytest.mark.slow
def test_after_a_reload_the_thumbnails_are_back(visit: Callable[..., Viewer], patient_page) -> None:
    viewer = visit(served=patient_page)
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(9)}")
    viewer.page.reload()
    viewer.wait(f"data.state === 'playing' && data.frame > {first_frame(9)}")
    assert chunks(viewer)
    viewer.page.locator("#timeline .strip").evaluate("(one) => (one.scrollLeft = 0)")
    for chunk in range(9):
        wait_for_chunk(viewer, chunk)
    assert viewer.page.locator("#timeline [data-chunk='4'] img").evaluate(READ_CARD) == [
        first_frame(4) + 6,
        0,
    ]
    viewer.page.click("#timeline [data-chunk='2']")
    viewer.wait("Number(data.review) > 0")
    assert viewer.card(AGAIN)[0] >= first_frame(2)
    assert viewer.errors == []


def test_chunks_that_were_dropped_go_from_the_strip(visit: Callable[..., Viewer]) -> None:
    viewer = visit()
    viewer.page.evaluate(MAKE_CHUNKS, 20)
    wait_for_chunk(viewer, 19)
    viewer.page.evaluate(
        "window.dispatchEvent(new CustomEvent('longlive:rewind', { detail: { chunk: 17, seconds: 12.75 } }))"
    )
    expect(viewer.page.locator("#timeline .chunk")).to_have_count(17)
    assert chunks(viewer) == list(range(17))


def test_a_video_of_half_an_hour_costs_the_page_no_more_than_a_short_one(
    visit: Callable[..., Viewer],
) -> None:
    viewer = visit()
    viewer.page.evaluate(MAKE_CHUNKS, 2400)
    wait_for_chunk(viewer, 2399)
    assert chunks(viewer) == list(range(2280, 2400))
    in_sight = """() => {
      const { left, right } = document.querySelector('#timeline .strip').getBoundingClientRect();
      const cells = [...document.querySelectorAll('#timeline .chunk')];
      const boxes = cells.map((one) => one.getBoundingClientRect());
      return boxes.filter((one) => one.right > left && one.left < right).length;
    }"""
    viewer.page.wait_for_function(f"({in_sight})() >= 3")
    with viewer.page.expect_request(lambda one: "/thumbnails?first=9" in one.url):
        found = viewer.page.locator("#timeline .strip").evaluate(SCROLL_TO, 1000)
    assert found["cells"] <= 120
    assert found["images"] == 0, "what is far is let go"


@pytest.mark.slow
def test_on_a_phone_the_strip_stands_below_the_prompt_and_fits(
    visit: Callable[..., Viewer],
) -> None:
    viewer = visit(**PHONE)
    viewer.start(MEADOW)
    viewer.wait(f"data.frame > {first_frame(8)}")
    assert viewer.overflow() == 0
    viewer.page.locator("#timeline .strip").scroll_into_view_if_needed()
    boxes = [viewer.page.locator(name).bounding_box() for name in ("#send", "#timeline .strip", "#examples")]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"] and boxes[1]["width"] <= 390
    viewer.page.locator("#timeline .strip").evaluate("(one) => (one.scrollLeft = 0)")
    viewer.page.tap("#timeline [data-chunk='1']")
    viewer.wait("Number(data.review) > 0")
    assert viewer.card(AGAIN)[0] >= first_frame(1)
    viewer.page.tap("#player .to-live")
    viewer.wait("data.review === undefined")


@pytest.mark.slow
def test_the_compatible_player_says_that_it_cannot_look_back(visit: Callable[..., Viewer]) -> None:
    viewer = visit("?player=hls")
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 60")
    assert chunks(viewer)[:4] == [0, 1, 2, 3]
    viewer.page.click("#timeline [data-chunk='1']")
    viewer.page.wait_for_selector("#status >> text=Looking back works with the Live player only.")
    assert viewer.errors == []
