"""A prompt that is sent while a video plays: what the viewer sees of it, and is told."""

import dataclasses
from collections.abc import Iterator

import pytest

from longlive.web.viewer_stream import ViewerStream
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.run_reader import wait_for
from tests.support.tcp_relay import TcpRelay

pytestmark = pytest.mark.browser

LATE = 6
"""Pictures by which a browser that is suddenly busy may be late."""


@pytest.fixture
def far_page() -> Iterator[tuple[Served, TcpRelay]]:
    """A page that keeps 4 s ready, and a connection to it that can be made slow."""
    with serve_page(FakeModels(chunk_s=0.1), buffer_ahead_s=4) as served:
        relay = TcpRelay(served.url)
        yield served, relay
        relay.close()


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0, 0.25])
def test_the_pictures_on_the_screen_are_those_of_the_file_before_and_after_each_prompt(
    visit, far_page: tuple[Served, TcpRelay], delay_s: float
) -> None:
    page, relay = far_page
    viewer = visit(served=dataclasses.replace(page, url=relay.url))
    viewer.start("a red ball")
    viewer.wait("data.frame > 20")
    relay.delay_s = delay_s
    (run,) = page.engine.runs
    wait_for(lambda: run.presence.round_trip_s >= 2 * delay_s, timeout=60)
    viewer.record_cards()
    for number in range(1, 6):
        viewer.write(f"prompt {number}")
        viewer.page.keyboard.press("Enter")
        viewer.wait(f"data.prompt == {number}")
        viewer.page.wait_for_timeout(317 * number)  # at different places in a chunk
    assert int(viewer.data["dropped"]) >= 1
    relay.delay_s = 0  # which holds up every piece of a file
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended'")
    film, shown = dict(viewer.downloaded_cards()), viewer.recorded_cards()
    assert len(shown) > 40
    for frame, seen, prompt in shown:
        assert frame <= seen <= frame + LATE, "the picture that the page names, or soon after it"
        if prompt != film[seen]:  # and that the file has
            assert film[seen - LATE] == prompt, "what was dropped is seen for a moment at most"
    numbers = [frame for frame, _, _ in shown]
    assert numbers == sorted(numbers), "the video never goes back"
    assert viewer.errors == []


@pytest.mark.slow
def test_the_page_says_when_a_prompt_takes_effect_and_how_long_it_took(visit) -> None:
    viewer = visit()
    viewer.start("a red ball")
    viewer.wait("data.frame > 20")
    viewer.write("a blue cube")
    viewer.page.keyboard.press("Enter")
    receipt = viewer.page.locator("#player .receipt")
    receipt.filter(has_text="It takes effect at 0:0").wait_for()
    viewer.wait("data.prompt == 1")
    receipt.filter(has_text="on screen").wait_for()
    delay = float(viewer.data["delay"])
    assert 0.1 < delay < 5
    assert f"on screen {delay:.1f} s after you sent it" in receipt.inner_text()


@pytest.mark.slow
def test_a_prompt_that_is_taken_up_before_the_page_is_told_has_a_receipt(
    visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeline = ViewerStream.timeline
    monkeypatch.setattr(ViewerStream, "timeline", lambda stream: timeline(stream) | {"waiting": []})
    viewer = visit()
    viewer.start("a red ball")
    viewer.wait("data.frame > 20")
    viewer.write("a blue cube")
    viewer.page.keyboard.press("Enter")
    viewer.page.locator("#player .receipt").filter(has_text="on screen").wait_for()
    assert viewer.data["prompt"] == "1" and "stages" in viewer.data


@pytest.mark.slow
def test_a_double_click_sends_one_prompt_and_a_refused_one_leaves_no_receipt(visit, served: Served) -> None:
    viewer = visit()
    viewer.start("a red ball")
    viewer.wait("data.frame > 20")
    viewer.write("a blue cube")
    viewer.page.dblclick("#send")
    viewer.wait("data.prompt == 1")
    viewer.write(" ")
    viewer.page.click("#send")
    viewer.page.wait_for_selector(".toast-body >> text=The prompt is empty")
    viewer.page.locator("#player .receipt").wait_for(state="hidden")
    viewer.write("a green star")
    viewer.page.click("#send")
    viewer.wait("data.prompt == 2")
    (run,) = served.engine.runs
    assert [span.text for span in run.prompts.spans] == ["a red ball", "a blue cube", "a green star"]
    toast, status = (viewer.page.locator(one).bounding_box() for one in (".toast-wrap", "#status"))
    assert toast is None or status["y"] + status["height"] <= toast["y"], "it would cover the status line"
    assert viewer.errors == []


LATE_SOURCE = """() => {
  const add = MediaSource.prototype.addEventListener;
  MediaSource.prototype.addEventListener = function (kind, listen) {
    add.call(this, kind, kind === "sourceopen" ? (event) => setTimeout(listen, 3000, event) : listen);
  };
}"""


@pytest.mark.slow
def test_a_reload_within_a_chunk_that_was_made_again_goes_on_though_the_browser_is_slow(
    visit, far_page: tuple[Served, TcpRelay]
) -> None:
    page, _ = far_page
    viewer = visit(served=page)
    viewer.start("a red ball")
    (run,) = page.engine.runs
    wait_for(lambda: run.seconds_until(run.end_s) > 3, timeout=60)
    viewer.write("a blue cube")
    viewer.page.keyboard.press("Enter")
    viewer.wait("data.prompt == 1")
    assert int(viewer.data["dropped"]) >= 1
    viewer.page.click("#player .pause")
    viewer.wait("data.state === 'paused'")
    start = run.prompts.spans[1].start
    viewer.page.locator("#player video").evaluate(f"(video) => (video.currentTime = {start} + 0.3)")
    viewer.page.add_init_script(f"({LATE_SOURCE})()")
    viewer.page.reload()
    viewer.wait("data.state === 'playing'")
    assert viewer.data["dropped"] == "0", "what was dropped before is not sent again"
    frame, prompt = viewer.card()
    assert prompt == 1 and frame >= 16 * start
    assert viewer.errors == []
