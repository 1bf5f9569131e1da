"""What the viewers of a load test got, from logs that the test writes."""

import numpy as np
import pytest

from longlive.benchmark.loadtest.api_viewer import Arrival, Log, QueueUpdate, Sent
from longlive.benchmark.loadtest.assignments import ViewerProfile, profile
from longlive.benchmark.loadtest.figures import ViewerResult, false_positions, figures_of, lost_pictures
from longlive.benchmark.loadtest.virtual_player import VirtualPlayer
from longlive.chunks import FrameChunk
from longlive.media.segments import SegmentEncoder
from longlive.storybook.world.drawing import Scene, draw_story

OWN, STRANGER = profile(0), profile(5)


def watched(
    arrivals: list[Arrival],
    *,
    sent: tuple[Sent, ...] = (),
    left_at: float = 99.0,
    others: tuple[ViewerProfile, ...] = (),
    others_at: float = 5.0,
) -> ViewerResult:
    """The figures of a viewer who pressed Start at 9.5 and got these segments."""
    player = VirtualPlayer()
    log = Log(started_at=9.5, left_at=left_at, ended_at=left_at, arrivals=arrivals, sent=list(sent))
    log.first_at = arrivals[0].at if arrivals else None
    for one in arrivals:
        player.add(one.at, one.end_s)
    return figures_of("viewer 1", OWN, log, player, [(other, Log(started_at=others_at)) for other in others])


def segments(*came: float, turn: int = 0, first: int = 0) -> list[Arrival]:
    """Segments of 16 pictures that came at these times."""
    prompt = OWN.prompt(turn)
    return [Arrival(at, first + 16 * number, 16, 16, prompt) for number, at in enumerate(came)]


def test_delays_and_stalls_are_counted_on_the_playhead_s_clock() -> None:
    """The second segment comes 0.5 s before its time; the third 0.2 s late, the fourth 0.5 s late."""
    one = watched(segments(10.0, 10.5, 12.2, 13.7), left_at=14.0)
    assert (one.first_picture_s, one.seconds) == (0.5, 4.0)
    assert (one.stalls, one.longest_stall_s) == (1, 0.5)
    assert (one.delay_p50_s, one.least_delay_s) == (0.0, 0.0)
    assert (one.segments, one.pictures, one.pictures_lost) == (4, 64, 0)
    assert watched(segments(10.0, 10.0, 10.5), left_at=14.0).least_delay_s == 1.5, "before, nothing plays"
    assert watched(segments(10.0, 10.5), left_at=12.5).stalls == 1
    assert watched(segments(10.0, 10.5), left_at=12.1).stalls == 0


def test_a_prompt_is_timed_to_its_first_picture_on_the_screen() -> None:
    came = [*segments(10.0, 10.5), *segments(11.5, 12.5, turn=1, first=32)]
    sent = Sent(10.7, 1, OWN.prompt(1))
    assert watched(came, sent=(sent,)).prompt_to_screen_s == (1.3,)
    early = watched(came, sent=(sent,), left_at=11.9)
    assert (early.prompts, early.prompts_unseen, early.prompt_to_screen_s) == (1, 1, ())


def test_pictures_that_did_not_come_are_counted_once_each() -> None:
    came = segments(10.0, 10.5, 11.0)
    assert lost_pictures([came[0], came[2]]) == 16
    assert lost_pictures([*came, came[1]]) == 0
    assert lost_pictures([]) == 0


def read_back(pictures_of: ViewerProfile, turns: tuple[int, ...], prompts: tuple[int, ...]) -> list[Arrival]:
    """Segments of 12 pictures of real scenes, made of the viewer's own prompts."""
    scenes = [
        (Scene(pictures_of.setting, pictures_of.shape, pictures_of.colour(turn), "stand"), 12)
        for turn in turns
    ]
    frames = draw_story(scenes, np.random.default_rng(0)).permute(0, 2, 3, 1).numpy()
    encoder, came = SegmentEncoder(scale=2), []
    for number, turn in enumerate(prompts):
        data = encoder.encode(FrameChunk(0, 0, "", 0, frames[12 * number : 12 * number + 12], 16)).data
        came.append(Arrival(10.0 + number / 4, 12 * number, 12, 16, OWN.prompt(turn), data))
    return came


def test_the_colour_on_the_screen_tells_when_a_prompt_was_seen() -> None:
    """The fade of 12 pictures passes the middle between the two colours about halfway."""
    came = read_back(OWN, (0, 0, 1), (0, 0, 1))
    one = watched(came, sent=(Sent(10.3, 1, OWN.prompt(1)),), others=(STRANGER,))
    made, seen = one.prompt_to_screen_s[0], one.prompt_to_picture_s[0]
    assert made == pytest.approx(10.25 + 1.5 - 10.3)
    assert 0 < seen - made < 12 / 16
    assert (one.pictures_read, one.wrong_story_pictures, one.unlike_pictures) == (36, 0, 0)


def test_a_swapped_stream_is_found_out_by_its_pictures_and_by_its_prompt() -> None:
    swapped = read_back(STRANGER, (0, 0), (0, 0))
    one = watched(swapped, others=(STRANGER,))
    assert (one.pictures_read, one.wrong_story_pictures) == (24, 24)
    later = watched(swapped, others=(STRANGER,), others_at=10.1)
    assert (later.wrong_story_pictures, later.unlike_pictures) == (12, 12), "nobody had begun it at first"
    alone = watched(swapped, others=(profile(1),))
    assert (alone.wrong_story_pictures, alone.unlike_pictures) == (0, 24)
    named = watched([Arrival(10.0, 0, 12, 16, STRANGER.prompt(0))], others=(STRANGER,))
    assert (named.pictures_read, named.wrong_story_pictures) == (12, 12)


def test_a_position_is_true_if_so_many_came_before_and_are_not_in() -> None:
    inside, early = Log(started_at=1.0, first_at=2.0), Log(started_at=5.0, first_at=30.0)
    gone, later = Log(started_at=6.0, ended_at=20.0), Log(started_at=8.0)
    others = [inside, early, gone, later]

    def untrue(at: float, position: int) -> int:
        return false_positions(Log(started_at=7.0, told=[QueueUpdate(at, position, None)]), others)

    assert [position for position in range(5) if not untrue(10.0, position)] == [3]
    assert [position for position in range(5) if not untrue(25.0, position)] == [2]
    assert [position for position in range(5) if not untrue(28.0, position)] == [1, 2]
    assert [position for position in range(5) if not untrue(40.0, position)] == [1]


def test_what_was_told_in_line_stands_beside_what_came() -> None:
    log = Log(started_at=10.0, first_at=31.0, left_at=40.0, ended_at=41.0, arrivals=segments(31.0))
    log.told = [QueueUpdate(10.25, 2, 30.0), QueueUpdate(20.0, 1, 15.0)]
    one = figures_of("later 1", OWN, log, VirtualPlayer(), [])
    assert one.told == ((0.2, 2, 30.0), (10.0, 1, 15.0))
    assert (one.first_picture_s, one.seconds) == (21.0, 9.0)
    assert one.false_positions == 1, "nobody was before it"
    assert one.broken_waits == 0
    log.told = [QueueUpdate(10.0, 1, 17.0), QueueUpdate(20.0, 1, 9.0), QueueUpdate(25.0, 1, None)]
    assert figures_of("later 1", OWN, log, VirtualPlayer(), []).broken_waits == 1


def test_who_never_got_a_picture_has_figures_too() -> None:
    nothing = figures_of(
        "viewer 1",
        OWN,
        Log(started_at=1.0, ended_at=5.0, end="Broken.", has_failed=True),
        VirtualPlayer(),
        [],
    )
    assert (nothing.first_picture_s, nothing.segments, nothing.end, nothing.has_failed) == (
        None,
        0,
        "Broken.",
        True,
    )
    assert figures_of("viewer 1", OWN, Log(), VirtualPlayer(), []).has_failed
