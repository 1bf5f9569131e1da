"""What chunks before say of a chunk's pictures."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from longlive.chunks import AttendedChunks, ChunkReport, MediaSegment, PictureStatistics
from longlive.media.picture_statistics import measure_pictures
from longlive.serving.runs.drift import STILL_CHUNKS, STILL_MOTION, WASHED_OUT, compare_pictures
from longlive.serving.runs.store.chunk_index import ChunkIndex, StoredChunk
from longlive.serving.runs.store.stored_segments import segment_fields

NO_LATENTS = (0, 0, "torch.float32", [1])


def statistics(colour: int = 200, **figures: float) -> PictureStatistics:
    found = measure_pictures(np.full((2, 8, 12, 3), (colour, 20, 20), np.uint8))
    return replace(found, **({"motion": 5.0, "contrast": 20.0} | figures))


def segment(
    index: int, figures: PictureStatistics | None, prompt: int = 0, sink: tuple[int, ...] = (0,)
) -> MediaSegment:
    window = (index - 1,) if index > 1 else ()
    report = ChunkReport(AttendedChunks(sink if index else (), window), figures)
    return MediaSegment(index, prompt, "a prompt", 12 * index, 12, 16, b"", "video/mp4", report=report)


def stored(*segments: MediaSegment) -> ChunkIndex:
    return ChunkIndex([StoredChunk("", NO_LATENTS, [segment_fields(one)], 0) for one in segments])


def report_of(one: MediaSegment, *before: MediaSegment) -> ChunkReport:
    found = compare_pictures(one, stored(*before)).report
    assert found is not None
    return found


def test_the_sink_is_like_itself_and_others_are_like_it_as_far_as_their_colours_are() -> None:
    first = segment(0, statistics(200))
    assert report_of(first).similarity == 1
    same, other = segment(1, statistics(200)), segment(1, statistics(150))
    assert report_of(same, first).similarity == 1
    found = report_of(other, first).similarity
    assert found is not None and 0 < found < 1


@pytest.mark.parametrize(
    "one",
    [
        segment(3, statistics(), sink=()),
        segment(3, statistics(), sink=(9,)),
        replace(segment(3, statistics()), report=ChunkReport(None, statistics())),
    ],
    ids=["no sink", "a sink that is not stored", "a session that does not say"],
)
def test_without_a_sink_that_is_known_there_is_no_similarity(one: MediaSegment) -> None:
    assert report_of(one, *(segment(index, statistics()) for index in range(3))).similarity is None


def test_a_part_of_a_chunk_and_one_without_figures_stay_as_they_are() -> None:
    for report in (None, ChunkReport(AttendedChunks())):
        one = replace(segment(1, None), report=report)
        assert compare_pictures(one, stored(segment(0, statistics()))) is one


def test_pictures_that_hardly_move_for_a_while_stand_still() -> None:
    still = [segment(index, statistics(motion=STILL_MOTION / 2)) for index in range(STILL_CHUNKS)]
    moves = segment(0, statistics(motion=2 * STILL_MOTION))
    assert report_of(still[-1], *still[:-1]).warning == "still"
    assert report_of(still[-1], moves, *still[1:-1]).warning is None
    assert report_of(still[-2], *still[:-2]).warning is None, "not for long enough"
    chunks = stored(*still[:-1])
    for fit, warning in ((0.75, "still"), (1.0, None)):
        chunks.add_fits({0: fit})
        found = compare_pictures(still[-1], chunks).report
        assert found is not None and found.warning == warning, "a prompt may ask for it"


def test_pictures_that_lose_colour_and_contrast_under_one_prompt_are_washed_out() -> None:
    clear = statistics()
    pale = replace(
        clear, saturation=0.9 * WASHED_OUT * clear.saturation, contrast=0.9 * WASHED_OUT * clear.contrast
    )
    before = [segment(index, clear, 1 if index > 1 else 0) for index in range(6)]
    assert report_of(segment(6, pale, 1), *before).warning == "washed_out"
    assert report_of(segment(6, replace(pale, contrast=clear.contrast), 1), *before).warning is None
    assert report_of(segment(6, pale, 2), *before).warning is None, "another prompt asks for other colours"


def test_a_report_is_the_same_after_it_was_stored() -> None:
    one = compare_pictures(segment(0, statistics()), ChunkIndex())
    assert stored(one).report_of(0) == one.report and one.report is not None
    assert asdict(one.report)["statistics"]["layout"] == statistics().layout
