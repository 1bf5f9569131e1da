"""What can no longer be dropped of a run, chunk by chunk, from one run to the next."""

from longlive.audience.settled_chunks import SettledChunks
from longlive.serving.scheduler import RunStatus
from tests.support.settled_runs import SettledRun


def taken(chunks: SettledChunks, at_most: int = 100) -> list[tuple[int, bool, int]]:
    return [(one.index, one.is_continuous, one.skipped) for one in chunks.take(at_most=at_most)]


def test_a_chunk_has_settled_once_its_viewer_begins_to_see_it_or_the_run_is_over() -> None:
    run = SettledRun()
    chunks = SettledChunks(run.audience())
    assert taken(chunks) == []
    run.make(4)
    assert taken(chunks) == [(0, True, 0)]
    run.position = 0.74
    assert taken(chunks) == [(1, True, 0)], "no prompt can come in time for it"
    run.position = 0.8
    assert taken(chunks) == [] and not chunks.is_over
    run.status = RunStatus.FINISHED
    assert not chunks.is_over
    assert taken(chunks) == [(2, True, 0), (3, True, 0)] and chunks.is_over


def test_each_has_its_pictures_its_length_and_when_it_was_seen() -> None:
    run = SettledRun(position=1.0)
    run.make(2)
    first, second = SettledChunks(run.audience()).take(at_most=5)
    assert (first.duration_s, first.age_s, second.age_s) == (0.75, 1.0, 0.25)
    assert second.segments == tuple(run.chunks[1].segments)


def test_of_many_only_the_last_are_read_and_the_others_are_counted() -> None:
    run = SettledRun(position=5.0)
    run.make(6)
    chunks = SettledChunks(run.audience())
    assert taken(chunks, at_most=2) == [(4, True, 4), (5, True, 0)]
    run.make()
    assert taken(chunks, at_most=2) == [(6, True, 0)]


def test_the_next_run_begins_anew_after_what_was_left_of_the_one_before() -> None:
    first, second = SettledRun(position=0.8), SettledRun(position=0.0)
    first.make(2), second.make(1, grey=90)
    audience = first.audience()
    audience.goes_on = True
    chunks = SettledChunks(audience)
    assert taken(chunks) == [(0, True, 0), (1, True, 0)]
    first.make(3)
    first.position = 1.6
    first.status = RunStatus.FINISHED
    assert not chunks.is_over
    audience.run = second.as_run()
    assert taken(chunks) == [(2, True, 0), (0, False, 0)]


def test_chunks_that_are_dropped_although_they_had_been_seen_are_taken_again() -> None:
    run = SettledRun(position=2.5)
    run.make(4)
    chunks = SettledChunks(run.audience())
    assert len(taken(chunks)) == 4
    del run.chunks[2:]
    assert taken(chunks) == []
    run.make(2, grey=90)
    assert taken(chunks) == [(2, False, 0), (3, True, 0)]


def test_nothing_comes_of_files_that_are_gone() -> None:
    run = SettledRun(position=9.0)
    run.make(2)
    chunks = SettledChunks(run.audience())
    run.is_lost = True
    assert taken(chunks) == []
    run.is_lost = False
    assert taken(chunks) == [(0, True, 0), (1, True, 0)]
