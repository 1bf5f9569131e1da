"""The result of a watcher in a browser, by the pictures that were on its screen."""

from longlive.benchmark.loadtest.watching.browser_watcher import result_of_pictures


def test_stalls_and_delays_are_those_of_the_screen() -> None:
    shown = [(100.0, 5.0), (101.0, 5.0), (101.1, 5.1), (101.6, 5.2), (101.7, 5.3)]
    result = result_of_pictures("browser 1", 98.5, shown, lambda at: at - 95, "")
    assert (result.first_picture_s, result.seconds) == (1.5, 1.7)
    assert (result.stalls, result.longest_stall_s) == (1, 0.5), "the first picture waits for playback"
    assert result.delays_s == (1.0, 1.0, 1.4, 1.4)


def test_without_pictures_the_reason_is_given() -> None:
    assert result_of_pictures("b", 0.0, [(1.0, 0.0)], float, "").end == "No picture came."
    assert result_of_pictures("b", 0.0, [], float, "Error: no browser").end == "Error: no browser"
