"""The watchers' player: where it plays, when it stalls, and where it goes when it is far behind."""

import pytest

from longlive.benchmark.loadtest.watching.watcher_player import BEHIND_S, FAR_S, WatcherPlayer


def opened(at: float = 10.0, end_s: float = 12.0) -> WatcherPlayer:
    """One that has begun at time 0, while its owner was at this second."""
    player = WatcherPlayer()
    assert player.second(0.0) is None
    player.add(0.0, 9.0, end_s)
    player.hear(0.0, at, True)
    return player


def run(player: WatcherPlayer, until: float, since: float = 0.0) -> None:
    for number in range(round(4 * since), round(4 * until) + 1):
        player.tick(number / 4)


def test_it_begins_behind_the_owner_and_goes_on_in_real_time() -> None:
    player = opened()
    assert player.second(0.0) == pytest.approx(10 - BEHIND_S)
    assert player.second(1.0) == pytest.approx(11 - BEHIND_S)
    assert not player.stalls and not player.jumps


def test_it_never_begins_where_no_pictures_are() -> None:
    player = opened(at=30.0)
    assert player.second(0.0) == pytest.approx(11.98)
    assert opened(at=1.0).second(0.0) == 9.0


def test_without_pictures_it_stalls_until_some_come() -> None:
    player = opened()
    run(player, 3.0)
    assert player.second(3.0) == 12.0 and not player.stalls, "it is not over"
    player.add(3.5, 12.0, 14.0)
    assert player.stalls == [pytest.approx(1.0)] and player.second(3.6) == pytest.approx(12.11), "faster"


def test_a_stall_at_the_end_counts() -> None:
    player = opened()
    run(player, 3.0)
    player.finish(4.0)
    assert not player.stalls, "it ends where pictures come"
    player.add(4.0, 12.0, 13.0)
    assert player.stalls == [pytest.approx(1.5)]


def test_it_stands_still_with_its_owner_without_a_stall() -> None:
    player = opened()
    player.hear(0.5, 10.0, False)
    run(player, 9.0, since=0.5)
    assert player.second(9.0) == pytest.approx(10.0, abs=0.06)
    player.hear(9.0, 12.0, False)
    run(player, 20.0, since=9.0)
    assert player.second(20.0) == pytest.approx(11.98, abs=0.06) and not player.stalls


def test_a_little_behind_it_plays_faster_and_far_behind_it_jumps() -> None:
    player = opened(end_s=60.0)
    player.hear(1.0, 11.5, True)
    assert player.second(2.0) == pytest.approx(10.5 + 1.1)
    player.hear(2.0, 11.0, True)
    assert player.second(3.0) == pytest.approx(11.6 + 0.9)
    player.hear(3.0, 13.0 + FAR_S + 1, True)
    assert player.second(3.0) == pytest.approx(13.5 + FAR_S) and player.jumps == 1


def test_what_is_dropped_is_not_played_and_another_video_begins_anew() -> None:
    player = opened()
    player.drop_from(0.1, 11.0)
    run(player, 2.0)
    assert player.second(2.0) == 11.0
    player.add(2.5, 11.0, 13.0)
    assert len(player.stalls) == 1
    player.open(3.0)
    assert player.second(3.0) is None
    player.hear(3.0, 0.75, True)
    player.add(3.0, 0.0, 1.0)
    assert player.second(3.0) == pytest.approx(0.25)
