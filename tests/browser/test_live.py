"""The page in a real browser: what is on the screen is what was asked for."""

import dataclasses
import io
import re

import av
import pytest
from playwright.sync_api import Route

from tests.support.fakes import read_card
from tests.support.run_reader import unfinished

pytestmark = pytest.mark.browser

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
HOLES = "document.querySelector('#player video').buffered.length - 1"
INJECTION = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>'


def test_start_plays_the_pictures_in_order_and_says_which_is_shown(visit) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 16")
    before, (frame, prompt), after = int(viewer.data["frame"]), viewer.card(), int(viewer.data["frame"])
    assert before <= frame <= after + 1 and prompt == 0
    viewer.wait("data.frame > 64")
    assert viewer.page.evaluate(HOLES) == 0
    assert viewer.text("#player .caption") == MEADOW
    assert "fps" in viewer.text("#player .figures")
    assert viewer.errors == []


def test_enter_starts_then_sends_and_the_prompt_is_shown_exactly_when_scheduled(visit) -> None:
    viewer = visit()
    viewer.write(MEADOW)
    viewer.page.press("#prompt textarea", "Enter")
    viewer.wait("data.frame > 8")
    viewer.write(JUMP)
    viewer.page.press("#prompt textarea", "Enter")
    seen = viewer.page.wait_for_function(
        """() => {
          const scheduled = document.querySelector('#timeline .scheduled');
          return scheduled && [scheduled.dataset.at, document.querySelector('#status').textContent];
        }"""
    )
    scheduled, status = seen.json_value()
    assert re.search(r"seen in [\d.]+ s", status)
    viewer.wait("data.prompt === '1'")
    assert viewer.card()[1] == 1
    viewer.page.wait_for_function("!document.querySelector('#timeline .scheduled')")
    assert float(viewer.page.locator("#timeline .prompt").last.get_attribute("data-start")) == float(
        scheduled
    )
    assert viewer.text("#timeline .prompt[aria-current] .text") == JUMP
    assert viewer.page.is_enabled("#prompt textarea")


def test_stop_leaves_the_video_and_the_session_file(visit, served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait("data.frame > 20")
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended'")
    last = int(viewer.data["frame"])
    assert viewer.downloaded_cards() == [(number, 0) for number in range(last + 1)]
    with viewer.page.expect_download() as download:
        viewer.page.click("#session-file")
    assert download.value.suggested_filename.startswith("longlive-")
    assert viewer.text("#status").startswith("Stopped.")


@pytest.mark.slow
def test_an_example_plays_at_a_click_and_changes_at_its_second(visit) -> None:
    viewer = visit()
    viewer.page.click("#examples .example >> nth=0")
    viewer.wait("data.prompt === '1'")
    assert viewer.card()[1] == 1
    turns = viewer.page.locator("#timeline .prompt").evaluate_all("(all) => all.map((e) => +e.dataset.start)")
    assert turns == [0, 33 / 16]
    assert viewer.page.input_value("#prompt textarea") == MEADOW


@pytest.mark.slow
def test_start_pressed_twice_makes_one_run_and_plays_the_newer(visit, served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.write(JUMP)
    viewer.page.dblclick("#start")
    viewer.page.wait_for_function(f"document.querySelector('#player .caption').textContent === '{JUMP}'")
    viewer.wait("data.state === 'playing' && data.frame > 20")
    assert len(unfinished(served.engine)) == 1 and served.models.most_busy == 1


HOLD_STREAM = """() => {
  const real = window.fetch;
  window.fetch = async (...args) => {
    const answer = await real(...args);
    if (!String(args[0]?.url ?? args[0]).includes("/live")) return answer;
    let held = [];
    const begun = performance.now();
    const hold = new TransformStream({
      transform(bytes, out) {
        held.push(bytes);
        if (performance.now() - begun < 1500) return;
        held.forEach((one) => out.enqueue(one));
        held = [];
      },
    });
    return new Response(answer.body.pipeThrough(hold), { status: answer.status, headers: answer.headers });
  };
}"""


@pytest.mark.slow
def test_pictures_that_come_in_one_burst_are_all_played(visit) -> None:
    viewer = visit()
    viewer.page.evaluate(HOLD_STREAM)  # as a connection that halts for 1.5 s and then brings all at once
    viewer.write(MEADOW)
    viewer.page.click("#start")
    viewer.wait("data.state === 'playing' && data.frame > 40")
    parts = viewer.page.locator("#player video").evaluate("(v) => [v.buffered.length, v.buffered.start(0)]")
    assert parts == [1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("by", "first", "then"), [("button", MEADOW, JUMP), ("example", JUMP, MEADOW)])
def test_a_video_that_a_new_one_replaces_can_still_be_downloaded(
    visit, served, by: str, first: str, then: str
) -> None:
    viewer = visit()
    viewer.start(first)
    viewer.wait("data.frame > 20")
    assert viewer.text("#start") == "New video"
    if by == "button":
        viewer.write(then)
        viewer.page.click("#start")
    else:
        viewer.page.click("#examples .example >> nth=0")
    viewer.page.wait_for_selector("#take video")
    video_bytes = viewer.page.request.get(viewer.page.locator("#take video").evaluate("(e) => e.src")).body()
    with av.open(io.BytesIO(video_bytes)) as video:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in video.decode(video=0)]
    assert cards == [(number, 0) for number in range(len(cards))] and len(cards) > 20
    viewer.page.wait_for_function(f"document.querySelector('#player .caption').textContent === '{then}'")
    viewer.wait("data.state === 'playing' && data.frame > 20")
    assert viewer.page.is_visible("#take video"), "also while the new one plays"


@pytest.mark.slow
def test_start_without_a_prompt_takes_the_example_that_is_shown(visit) -> None:
    viewer = visit()
    example = viewer.page.get_attribute("#prompt textarea", "placeholder")
    viewer.page.click("#start")
    viewer.wait("data.frame >= 0")
    assert viewer.page.input_value("#prompt textarea") == example == viewer.text("#player .caption")


def connections(viewer) -> int:
    """How often a page connected to a run."""
    return sum("/live?" in url for url in viewer.asked)


@pytest.mark.slow
def test_a_duplicated_tab_leaves_the_video_to_the_first_until_it_is_asked_to_take_over(visit, served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 8")
    copy = viewer.duplicate()
    copy.wait("data.state === 'elsewhere'")
    assert copy.text("#player .elsewhere p") == "This video plays in another tab."
    frame = int(viewer.data["frame"])
    viewer.wait(f"data.state === 'playing' && data.frame > {frame + 40}")
    assert connections(viewer) == 1 and connections(copy) == 0
    copy.page.click("#player .elsewhere button")
    copy.wait("data.state === 'playing' && data.frame > 40")
    viewer.wait("data.state === 'elsewhere'")
    assert viewer.text("#status") == "This video plays in another tab."
    frame = int(copy.data["frame"])
    copy.wait(f"data.frame > {frame + 40}")
    assert connections(viewer) == connections(copy) == 1, "they do not take it from each other"
    assert len(unfinished(served.engine)) == 1


@pytest.mark.slow
def test_a_copy_that_takes_over_too_late_is_told_so(visit, served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    copy = viewer.duplicate()
    copy.wait("data.state === 'elsewhere'")
    viewer.page.close()
    served.wait_until_empty()
    copy.page.click("#player .elsewhere button")
    copy.wait("data.state === 'failed'")
    assert copy.text("#player .caption").startswith("This video is no longer available.")


HIDE_AS_CHROME = """() => {
  const real = HTMLVideoElement.prototype.requestVideoFrameCallback;
  const held = [];
  let isHidden = false;
  Object.defineProperty(document, 'hidden', { get: () => isHidden });
  HTMLVideoElement.prototype.requestVideoFrameCallback = function (callback) {
    return real.call(this, (...args) => (isHidden ? held.push([this, callback]) : callback(...args)));
  };
  window.hide = (value) => {
    isHidden = value;
    document.dispatchEvent(new Event('visibilitychange'));
    if (!value) for (const [video, callback] of held.splice(0)) real.call(video, callback);
  };
}"""


@pytest.mark.slow
def test_the_return_to_a_hidden_tab_is_no_stall(visit) -> None:
    viewer = visit()
    viewer.page.evaluate(HIDE_AS_CHROME)
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 16")
    for _ in range(3):
        viewer.page.evaluate("hide(true)")
        viewer.page.wait_for_timeout(1000)
        frame = int(viewer.data["frame"])
        viewer.page.evaluate("hide(false)")
        viewer.wait(f"data.frame > {frame + 20}")
    assert int(viewer.data["stalls"]) < 3, "none by the return; a busy machine may have one of its own"


def throttle(devtools, kilobits: float) -> None:
    """Let a page's line carry so many kilobits a second from now on; -1 for as many as it can."""
    conditions = {"offline": False, "latency": 0, "uploadThroughput": -1}
    conditions |= {"downloadThroughput": kilobits * 1000 / 8 if kilobits > 0 else -1}
    devtools.send("Network.emulateNetworkConditions", conditions)


@pytest.mark.slow
def test_on_a_line_that_is_too_thin_the_viewer_waits_for_it_and_nothing_is_asked_for_twice(
    visit, served
) -> None:
    viewer = visit()
    devtools = viewer.page.context.new_cdp_session(viewer.page)
    devtools.send("Network.enable")
    throttle(devtools, 40)
    viewer.write(MEADOW)
    viewer.page.click("#start")
    viewer.wait("data.state === 'buffering'", timeout=90)
    badge = "document.querySelector('#player .badge').textContent"
    viewer.page.wait_for_function(f"{badge} === 'Waiting for your connection'")
    frame = int(viewer.data["frame"])
    viewer.wait(f"data.state === 'playing' && data.frame > {frame}", timeout=90)
    assert connections(viewer) == 1
    assert int(viewer.data["stalls"]) >= 1
    throttle(devtools, -1)
    viewer.page.click("#stop")
    viewer.page.wait_for_selector("#take video")
    assert viewer.page.evaluate(HOLES) == 0


@pytest.mark.slow
def test_where_the_model_is_too_slow_the_viewer_is_not_told_of_the_line(visit, served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    served.models.chunk_s = 2.0
    try:
        viewer.wait("data.state === 'buffering'")
        badge = "document.querySelector('#player .badge').textContent"
        viewer.page.wait_for_function(f"{badge} === 'Waiting for the server'")
    finally:
        served.models.chunk_s = 0.1


@pytest.mark.parametrize("leave", ["close", "navigate"])
@pytest.mark.slow
def test_a_viewer_who_leaves_leaves_nothing_behind(visit, served, leave) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    assert len(unfinished(served.engine)) == 1
    if leave == "navigate":
        viewer.page.goto("about:blank")
    else:
        viewer.page.close()
    served.wait_until_empty()


@pytest.mark.slow
def test_after_a_reload_the_video_goes_on_where_it_was(visit, patient_page) -> None:
    viewer = visit(served=patient_page)
    viewer.start(MEADOW)
    viewer.write(JUMP)
    viewer.page.press("#prompt textarea", "Enter")
    viewer.wait("data.prompt === '1' && data.frame > 40")
    before = int(viewer.data["frame"])
    failed: list[str] = []

    def fail_first(route: Route) -> None:
        if failed or '"exists"' not in (route.request.post_data or ""):
            return route.continue_()
        failed.append(route.request.url)
        return route.abort()

    viewer.page.route("**/component_server/**", fail_first)
    viewer.page.reload()
    viewer.wait("data.state === 'playing' && data.frame > 8")
    assert failed, "the line was down when the page asked first"
    first = int(viewer.data["frame"])
    assert before - 1 <= first <= before + 40
    viewer.wait(f"data.frame > {first + 48}")
    frame, prompt = viewer.card()
    assert prompt == 1 and abs(frame - int(viewer.data["frame"])) <= 3
    assert viewer.page.evaluate(HOLES) == 0
    assert viewer.text("#timeline .prompt >> nth=0").endswith(MEADOW), "the earlier prompts are still listed"
    viewer.page.click("#stop")
    viewer.page.wait_for_selector("#take video")
    video_bytes = viewer.page.request.get(viewer.page.locator("#take video").evaluate("(e) => e.src")).body()
    with av.open(io.BytesIO(video_bytes)) as video:
        cards = [read_card(picture.to_ndarray(format="rgb24"))[0] for picture in video.decode(video=0)]
    assert cards == list(range(len(cards))), "the video has all of it, from before the reload on"
    assert patient_page.engine.status().running == 0 and viewer.errors == []


@pytest.mark.slow
def test_after_a_reload_the_compatible_player_goes_on_too(visit, patient_page) -> None:
    viewer = visit("?player=hls", served=patient_page)
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 40")
    before = int(viewer.data["frame"])
    viewer.page.reload()
    viewer.wait(f"data.mode === 'compatible' && data.state === 'playing' && data.frame > {before}")
    first, (frame, _), last = (
        int(viewer.data["frame"]),
        viewer.card("#compatible video"),
        int(viewer.data["frame"]),
    )
    assert first - 1 <= frame <= last + 1, "the number reported is that of the picture on the screen"
    viewer.page.click("#stop")
    viewer.page.wait_for_selector("#take video")


@pytest.mark.parametrize("seconds", [5, 9])
@pytest.mark.slow
def test_a_connection_that_is_down_for_a_while_costs_no_picture(visit, patient_page, relay, seconds) -> None:
    """5 s are a halt; after 9 s the run was suspended meanwhile, and resumes exactly where it was."""
    viewer = visit(served=dataclasses.replace(patient_page, url=relay.url))
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 16")
    relay.disconnect()
    viewer.page.wait_for_timeout(seconds * 1000)
    seen = int(viewer.data["frame"])
    relay.connect()
    viewer.wait(f"data.frame > {seen + 40}")
    assert viewer.page.evaluate(HOLES) == 0
    before, (frame, _), after = int(viewer.data["frame"]), viewer.card(), int(viewer.data["frame"])
    assert before - 1 <= frame <= after + 1
    viewer.write(JUMP)
    viewer.page.press("#prompt textarea", "Enter")
    viewer.wait("data.prompt === '1'")
    viewer.page.click("#stop")
    viewer.page.wait_for_selector("#take video")
    assert viewer.text("#status").startswith("Stopped.")


@pytest.mark.slow
def test_two_tabs_see_only_their_own_videos(visit) -> None:
    first, second = visit(), visit()
    first.start(MEADOW)
    second.start("a blue cube rolls on snow")
    second.write(JUMP)
    second.page.press("#prompt textarea", "Enter")
    second.wait("data.prompt === '1'")
    assert first.data["prompt"] == "0" and first.card()[1] == 0
    assert first.text("#player .caption") == MEADOW and second.text("#player .caption") == JUMP
    assert first.page.locator("#timeline .prompt").count() == 1


def test_prompts_are_only_ever_text(visit) -> None:
    viewer = visit()
    viewer.start(INJECTION)
    viewer.wait("data.frame > 8")
    viewer.write(INJECTION + " again")
    viewer.page.press("#prompt textarea", "Enter")
    viewer.page.wait_for_selector("#timeline .scheduled")
    viewer.wait("data.prompt === '1'")
    assert viewer.text("#player .caption") == INJECTION + " again"
    assert INJECTION in viewer.text("#timeline")
    assert viewer.page.evaluate("window.hacked") is None
    images = viewer.page.locator(":is(#timeline, #player, #status) img:not([src^='data:image/webp;base64,'])")
    assert images.count() == 0


@pytest.mark.slow
def test_a_prompt_too_long_is_refused_with_a_message_and_the_video_goes_on(visit) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.write("x" * 10_000)
    viewer.page.press("#prompt textarea", "Enter")
    viewer.page.wait_for_selector("text=10,000 characters")
    frame = int(viewer.data["frame"])
    viewer.wait(f"data.state === 'playing' && data.frame > {frame + 30}")


@pytest.mark.slow
def test_a_broken_model_is_reported_and_the_next_start_works(visit, served) -> None:
    viewer = visit()
    served.models.break_at = 1
    viewer.start(MEADOW)
    viewer.page.wait_for_selector("#status >> text=Something went wrong while making your video")
    served.models.break_at = None
    viewer.page.click("#start")
    viewer.wait("data.frame > 20")


@pytest.mark.slow
def test_pause_stops_the_model_just_ahead_of_the_viewer(visit, served) -> None:
    viewer = visit()
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 8")
    viewer.page.click("#player .pause")
    viewer.wait("data.state === 'paused'")
    viewer.page.wait_for_timeout(1500)
    end = viewer.page.locator("#player video").evaluate("(e) => e.buffered.end(0) - e.currentTime")
    assert end < 2.3
    viewer.page.click("#player .pause")
    viewer.wait(f"data.frame > {int(viewer.data['frame']) + 40}")


@pytest.mark.slow
def test_the_compatible_player_shows_the_same_video(visit) -> None:
    viewer = visit("?player=hls")
    viewer.start(MEADOW)
    viewer.wait("data.state === 'playing' && data.frame > 8")
    before, (frame, prompt), after = (
        int(viewer.data["frame"]),
        viewer.card("#compatible video"),
        int(viewer.data["frame"]),
    )
    assert before <= frame <= after + 1 and prompt == 0
    viewer.write(JUMP)
    viewer.page.press("#prompt textarea", "Enter")
    viewer.wait("data.prompt === '1'")
    assert viewer.card("#compatible video")[1] == 1
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended'")
    viewer.page.wait_for_selector("#take video")
    assert viewer.errors == []


@pytest.mark.slow
def test_the_player_can_be_changed_on_the_page(visit) -> None:
    viewer = visit()
    viewer.page.click("#player-mode label:has-text('Compatible')")
    viewer.start(MEADOW)
    assert viewer.data["mode"] == "compatible"
    assert viewer.page.is_visible("#compatible video")
