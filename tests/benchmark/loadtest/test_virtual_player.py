"""The virtual player, on a clock that the test moves."""

from longlive.benchmark.loadtest.virtual_player import Stall, VirtualPlayer


def test_it_plays_by_the_clock_once_enough_lies_ready() -> None:
    player = VirtualPlayer(start_s=0.9)
    player.add(10.0, 0.5625)
    assert (player.seconds(10.5), player.is_playing(10.5), player.shown_at(0.0)) == (0.0, False, None)
    player.add(11.0, 1.3125)
    assert player.is_playing(11.0) and player.seconds(11.5) == 0.5
    assert player.shown_at(0.25) == 11.25
    assert player.shown_at(1.3125) is None
    assert not player.stalls(11.5)


def test_it_stands_still_at_the_end_of_what_came_and_goes_on_from_there() -> None:
    player = VirtualPlayer(start_s=0.5)
    player.add(0.0, 1.0)
    assert (player.seconds(1.75), player.is_playing(1.75)) == (1.0, False)
    assert player.stalls(1.75) == [Stall(1.0, 0.75)]
    player.add(2.0, 2.0)
    assert player.stalls(2.5) == [Stall(1.0, 1.0)]
    assert (player.seconds(2.5), player.is_playing(2.5)) == (1.5, True)
    assert (player.shown_at(0.75), player.shown_at(1.0), player.shown_at(1.5)) == (0.75, 2.0, 2.5)
    player.add(3.5, 3.0)
    assert player.stalls(3.6) == [Stall(1.0, 1.0), Stall(2.0, 0.5)]


def test_what_comes_just_in_time_or_twice_is_no_stall() -> None:
    player = VirtualPlayer(start_s=1.0)
    player.add(0.0, 1.0)
    player.add(1.0, 2.0)
    player.add(1.5, 2.0)
    assert not player.stalls(2.0)
    assert player.shown_at(1.0) == 1.0
    player.add(2.5, 2.0)
    assert player.stalls(2.5) == [Stall(2.0, 0.5)] and player.end_s == 2.0


def test_the_end_of_the_video_plays_out_and_is_no_stall() -> None:
    short = VirtualPlayer(start_s=0.9)
    short.add(0.0, 0.5)
    short.complete(1.0)
    assert (short.seconds(1.25), short.shown_at(0.25), short.seconds(9.0)) == (0.25, 1.25, 0.5)
    assert not short.stalls(9.0)

    late = VirtualPlayer(start_s=0.9)
    late.add(0.0, 1.0)
    late.complete(1.5)
    late.complete(2.5)
    assert late.stalls(9.0) == [Stall(1.0, 0.5)]


def test_nothing_came_nothing_plays() -> None:
    player = VirtualPlayer()
    player.complete(5.0)
    assert (player.seconds(9.0), player.is_playing(9.0), player.stalls(9.0)) == (0.0, False, [])


def test_where_it_was_is_known_afterwards() -> None:
    player = VirtualPlayer()
    player.add(10.0, 1.0)
    player.add(13.0, 3.0)
    assert [player.second_at(at) for at in (9.0, 10.5, 12.0, 13.5)] == [0.0, 0.5, 1.0, 1.5]
    assert player.second_at(20.0) == 3.0
