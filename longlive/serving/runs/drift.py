"""How a chunk's pictures compare with those before: similarity to the sink, and whether something is wrong.

The thresholds were chosen from measured videos of the storybook model; serving/README.md says how.
"""

from dataclasses import replace

from longlive.chunks import ChunkReport, MediaSegment, PictureStatistics, PictureWarning
from longlive.media.picture_statistics import similarity
from longlive.serving.runs.store.chunk_index import ChunkIndex

STILL_MOTION, STILL_CHUNKS = 0.5, 4
"""Pictures stand still that move less than this, in % of white, for so many chunks (3 s); where a judge says
that they show all that their prompt names, nothing is wrong with that."""
WASHED_OUT, SETTLED_CHUNKS = 0.7, 3
"""Pictures are washed out whose saturation and contrast are less than this share of what they were in the
prompt's chunk with this number, where the change to it is over."""


def compare_pictures(segment: MediaSegment, chunks: ChunkIndex) -> MediaSegment:
    """The segment that ends a chunk, with what the chunks before say of its pictures; others as they are."""
    report = segment.report
    if report is None or report.statistics is None:
        return segment
    statistics = report.statistics
    found = replace(
        report,
        similarity=_similarity(report, statistics, segment.index, chunks),
        warning=_warning(statistics, segment, chunks),
    )
    return replace(segment, report=found)


def _similarity(
    report: ChunkReport, statistics: PictureStatistics, index: int, chunks: ChunkIndex
) -> float | None:
    """Of the pictures to those of the sink; the first chunk of a scene is the sink itself."""
    if report.attended is None or not (report.attended.sink or not report.attended.window):
        return None
    sink = _statistics(report.attended.sink[0], chunks) if report.attended.sink else statistics
    return None if sink is None else similarity(sink.layout, statistics.layout)


def _warning(
    statistics: PictureStatistics, segment: MediaSegment, chunks: ChunkIndex
) -> PictureWarning | None:
    before = [chunks.report_of(segment.index - back) for back in range(1, STILL_CHUNKS)]
    figures = [statistics, *(one.statistics if one else None for one in before)]
    is_as_asked = any(one.fit == 1 for one in before if one)
    if not is_as_asked and all(one is not None and one.motion < STILL_MOTION for one in figures):
        return "still"
    reference = chunks.first_of_prompt(segment.prompt_index) + SETTLED_CHUNKS - 1
    settled = _statistics(reference, chunks) if reference < segment.index else None
    return "washed_out" if settled is not None and _is_washed_out(statistics, settled) else None


def _is_washed_out(statistics: PictureStatistics, settled: PictureStatistics) -> bool:
    has_faded = statistics.saturation < WASHED_OUT * settled.saturation
    return has_faded and statistics.contrast < WASHED_OUT * settled.contrast


def _statistics(chunk: int, chunks: ChunkIndex) -> PictureStatistics | None:
    report = chunks.report_of(chunk)
    return None if report is None else report.statistics
