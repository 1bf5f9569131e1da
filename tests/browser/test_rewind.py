"""A prompt that is sent while a video plays: what the viewer sees of it, and is told."""

import dataclasses

import pytest

from tests.support.fakes import Served
from tests.support.run_reader import wait_for
from tests.support.tcp_relay import TcpRelay

pytestmark = pytest.mark.browser


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0, 0.25])
def test_the_pictures_on_the_screen_are_those_of_the_file_before_and_after_each_prompt(
    visit, patient_page: Served, relay: TcpRelay, delay_s: float
) -> None:
    viewer = visit(served=dataclasses.replace(patient_page, url=relay.url))
    viewer.start("a red ball")
    viewer.wait("data.frame > 20")
    relay.delay_s = delay_s
    (run,) = patient_page.engine.runs
    wait_for(lambda: run.presence.round_trip_s >= 2 * delay_s, timeout=60)
    viewer.record_cards()
    for number in range(1, 6):
        viewer.write(f"prompt {number}")
        viewer.page.keyboard.press("Enter")
        viewer.wait(f"data.prompt == {number}")
        viewer.page.wait_for_timeout(317 * number)  # at different places in a chunk
    assert int(viewer.data["dropped"]) >= 1
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended'")
    film, shown = dict(viewer.downloaded_cards()), viewer.recorded_cards()
    assert len(shown) > 40
    for frame, seen, prompt in shown:
        assert frame <= seen <= frame + 1, (
            "the picture that the page names; a busy browser draws the next one"
        )
        if prompt != film[seen]:  # and that the file has
            assert film[seen - 4] == prompt, (
                "a busy browser hears too late that its next pictures were dropped"
            )
    numbers = [frame for frame, _, _ in shown]
    assert numbers == sorted(numbers), "the video never goes back"
    assert viewer.data["stalls"] == "0"
    assert viewer.errors == []


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
