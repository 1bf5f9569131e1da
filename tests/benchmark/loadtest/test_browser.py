"""The arithmetic of what a viewer gets."""

import pytest

from longlive.benchmark.loadtest.browser import ViewerMetrics, figures


def test_stalls_losses_and_waits_are_counted_from_the_pictures_on_the_screen() -> None:
    # Picture 0 stands still until playing begins; picture 3 is never shown; picture 6 comes 0.3 s late.
    times = {0: 10.0, 1: 10.8, 2: 10.86, 4: 10.98, 5: 11.04, 6: 11.40, 7: 11.46}
    seen = [[at, number / 16] for number, at in times.items()]
    result = figures("live", ViewerMetrics(clicked=9.5, seen=seen, waits=[1.0, 3.0, 1.4]), fps=16)
    assert (result.first_picture_s, result.seconds) == (0.5, 1.5)
    assert (result.stalls, result.longest_gap_s) == (1, 0.36)
    assert (result.prompt_to_picture_s, result.slowest_prompt_s) == (1.4, 3.0)
    assert (result.pictures_shown, result.pictures_lost) == (7, pytest.approx(0.125))
