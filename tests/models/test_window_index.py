"""What a window sees, counted without a tensor; test_kv_cache.py has the errors that both caches share."""

import pytest

from longlive.config import StreamConfig
from longlive.models.window_index import WindowIndex


def index_after(num_latents: int, **stream: object) -> WindowIndex:
    index = WindowIndex(StreamConfig(**stream), num_positions=64)  # type: ignore[arg-type]
    for start in range(0, num_latents, 3):
        index.place(start, 3)
    return index


def test_the_sink_and_the_newest_latents_are_visible() -> None:
    index = index_after(18, window=9)
    assert index.visible() == (0, 1, 2, 12, 13, 14, 15, 16, 17)
    assert (index.placed, index.num_visible, index.has_rolled) == (range(18), 9, True)


def test_an_endless_window_forgets_nothing() -> None:
    index = index_after(60, window=-1)
    assert index.visible() == tuple(range(60)) and not index.has_rolled


def test_positions_are_numbers_or_ranks() -> None:
    assert index_after(18, window=9).positions((0, 12, 17)) == (0, 12, 17)
    assert index_after(18, window=9, positions="relative").positions((0, 12, 17)) == (0, 3, 8)
    assert index_after(18, window=9, positions="relative").positions((5,)) == (0,), "not visible"


def test_a_call_that_is_refused_changes_nothing() -> None:
    index = index_after(9, window=9)
    index.skip(9, 3)
    for start, fault in ((12, "latents 9 to 11 were skipped"), (15, "do not continue"), (0, "exceed the 6")):
        with pytest.raises(ValueError, match=fault):
            index.place(start, 15 - start if start < 15 else 3)
        assert (index.placed, index.skipped) == (range(12), range(9, 12))
    assert index.has_gaps
    assert index.place(9, 3) == range(9, 12) and not index.has_gaps


def test_a_call_attends_to_the_sink_and_to_the_newest_latents_beside_its_own() -> None:
    for before, seen in (
        (0, ((), ())),
        (3, ((0, 1, 2), ())),
        (9, ((0, 1, 2), (3, 4, 5, 6, 7, 8))),
        (18, ((0, 1, 2), (12, 13, 14, 15, 16, 17))),
    ):
        index = index_after(before, window=12)
        assert index.attended(before, 3) == seen, "before the call"
        index.place(before, 3)
        assert index.attended(before, 3) == seen, "and after it"
    assert index_after(18, window=12, sink=0).attended(18, 3) == ((), tuple(range(9, 18)))
    assert index_after(9, window=-1, sink=0).attended(9, 3) == ((), tuple(range(9)))
