"""What those who watch a run may see of it."""

from collections.abc import Iterator

import pytest

from longlive.serving.engine import Engine
from longlive.serving.executors.events import NoticeEvent
from longlive.serving.runs.events import Rewound
from longlive.serving.runs.run import Run
from longlive.web.watch.watched_run import (
    MAX_BEHIND,
    event_frame,
    first_chunk,
    num_seen,
    recent_segments,
    spans_of,
    state_of,
    stored_frames,
)
from tests.support.fakes import FakeModels, make_engine
from tests.support.live_frames import frames
from tests.support.page_client import cards_of
from tests.support.run_reader import wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
FIELDS = {"kind", "chunk", "prompt_index", "prompt", "first_frame", "num_frames", "fps", "mime"}
FIELDS |= {"ends_chunk", "thumbnail"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = make_engine(
        FakeModels(chunk_s=0.0), buffer_ahead_s=45.0, disconnect_timeout_s=600.0, no_player_timeout_s=600.0
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def run(engine: Engine) -> Run:
    """A run of 50 chunks and more, of which its viewer, who has paused, has seen 2 s: chunks 0 to 2."""
    run = engine.start("ada", MEADOW, seed=7)
    run.prompt(JUMP)
    run.playhead(2.0, False)
    wait_for(lambda: run.num_chunks >= 50)
    return run


def test_only_what_the_viewer_has_begun_to_see_may_be_seen_again(run: Run) -> None:
    assert num_seen(run) == 3
    run.playhead(2.0625, False)
    assert num_seen(run) == 4, "the first picture of a chunk is on the screen"
    run.playhead(2.0, False)


def test_prompts_that_the_viewer_has_not_seen_are_not_told(run: Run) -> None:
    assert [span["text"] for span in spans_of(run)] == [MEADOW, JUMP]
    run.playhead(0.1, False)
    assert [span["text"] for span in spans_of(run)] == [MEADOW]
    assert set(spans_of(run)[0]) == {"prompt_index", "text", "start"}
    run.playhead(2.0, False)


@pytest.mark.parametrize(
    ("asked", "take", "first"),
    [
        (None, "", 2),
        (0, "", 0),
        (1, "mine", 1),
        (49, "", 49),
        (999_999, "", 2),
        (1, "other", 2),
    ],
)
def test_one_begins_with_what_is_missing_or_with_what_the_viewer_sees(
    run: Run, asked: int | None, take: str, first: int
) -> None:
    assert first_chunk(run, asked, {"mine": run.name, "other": "0a0a0a0a"}.get(take, "")) == first


def test_who_was_away_for_long_begins_with_what_the_viewer_sees(engine: Engine, run: Run) -> None:
    run.presence.clock.seek(35.0, False)
    live = num_seen(run) - 1
    assert live > MAX_BEHIND
    assert [first_chunk(run, live - MAX_BEHIND + by, "") for by in (-1, 0)] == [live, live - MAX_BEHIND]
    run.presence.clock.seek(2.0, False)


def test_the_state_is_one_word_for_all_that_can_be(engine: Engine, run: Run) -> None:
    assert state_of(run) == "paused"
    other = engine.start("bob", MEADOW, seed=1)
    assert state_of(other) in ("waiting", "live")
    wait_for(lambda: state_of(other) == "live")
    other.suspend()
    wait_for(lambda: state_of(other) == "resting")
    engine.claim("bob", other.token)
    other.stop("user")
    wait_for(lambda: state_of(other) == "ended")


def test_a_player_that_waits_for_more_video_is_not_paused(run: Run) -> None:
    run.presence.clock.seek(run.end_s - 0.5, False)
    assert state_of(run) == "live"
    run.presence.clock.seek(2.0, False)
    assert state_of(run) == "paused"


def test_messages_have_their_fields_and_no_others(run: Run) -> None:
    _, event = recent_segments(run, run.events.last)[-1]
    ((message, data),) = frames(iter([event_frame(event)]))
    assert message is not None and set(message) == FIELDS and data == event.segment.data
    for other, fields in (
        (Rewound(3, 1.5), {"kind", "chunk", "second"}),
        (NoticeEvent("welcome_back"), {"kind"}),
    ):
        ((message, data),) = frames(iter([event_frame(other)]))
        assert message is not None and set(message) == fields and data == b""


def test_stored_chunks_are_sent_like_those_that_come(run: Run) -> None:
    found = list(frames(stored_frames(run, 3, 6)))
    assert [card[0] for _, data in found for card in cards_of(data)] == list(range(33, 69))
    assert all(message is not None and set(message) == FIELDS for message, _ in found)
    assert list(stored_frames(run, 6, 6)) == []


def test_what_was_dropped_is_not_recent(engine: Engine) -> None:
    run = engine.start("eve", MEADOW, seed=3)
    wait_for(lambda: run.num_chunks >= 5)
    run.playhead(0.1, True)
    run.prompt(JUMP)
    wait_for(lambda: run.events.kept()[-1][1].__class__ is not Rewound and run.num_chunks >= 5)
    recent = recent_segments(run, run.events.last)
    numbers = [one.segment.first_frame for _, one in recent]
    assert numbers == sorted(set(numbers))
    run.stop("user")
