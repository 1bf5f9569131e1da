"""A prompt that is sent while a video plays: what the viewer sees of it, and is told."""

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_the_pictures_on_the_screen_are_those_of_the_file_before_and_after_each_prompt(visit) -> None:
    viewer = visit()
    viewer.start("a red ball")
    viewer.wait("data.frame > 20")
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
