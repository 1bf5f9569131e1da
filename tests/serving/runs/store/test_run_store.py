"""A run on disk: what is written is found again, up to its last whole chunk, after whatever happened."""

import dataclasses
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from longlive.chunks import AttendedChunks, ChunkReport, FrameChunk, MediaSegment, latents_digest
from longlive.errors import MediaError, SessionFileError
from longlive.generation.session_file import PromptEvent, SessionRecord
from longlive.media.picture_statistics import measure_pictures
from longlive.media.segments import SegmentEncoder
from longlive.serving.executors.events import ChunkCheckpoint
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Prompt
from longlive.serving.rendering.idle_judge import ChunkFit
from longlive.serving.runs.store.run_store import LATENTS, SEGMENTS, STORY, RunStore
from longlive.serving.runs.store.store_folder import stored_runs
from longlive.serving.runs.store.stored_segments import ChunkSummary, summarize
from longlive.serving.runs.store.video_files import write_session, write_video
from tests.support.fakes import FakeModels, FakeSession

FACTS = {"key": "k", "seed": 7, "container": "mp4"}


def header() -> SessionRecord:
    job = Job(name="x", seed=7, prompts=(Prompt("a ball"),), limits=None)  # type: ignore[arg-type]
    record = FakeSession(FakeModels(), job, None).record()
    return dataclasses.replace(record, prompts=(), chunks=())


def chunk(index: int, dtype: torch.dtype = torch.float32) -> tuple[list[MediaSegment], ChunkCheckpoint]:
    """A chunk of pictures with its latents; chunks 0 and 2 have prompts of their own."""
    frames = np.full((4, 64, 96, 3), 20 * index, np.uint8)
    segment = SegmentEncoder(scale=1).encode(
        FrameChunk(index, index // 2, f"prompt {index // 2}", 4 * index, frames, 16)
    )
    attended = AttendedChunks((0,) if index else (), tuple(range(1, index)), "soft" if index == 2 else None)
    report = ChunkReport(attended, measure_pictures(frames), similarity=0.5)
    segment = dataclasses.replace(segment, thumbnail=f"thumbnail {index}".encode(), report=report)
    latents = torch.randn(1, 3, 2, 4, 5, generator=torch.Generator().manual_seed(index)).to(dtype)
    event = PromptEvent(index, f"prompt {index // 2}", "soft" if index else None) if index % 2 == 0 else None
    return [segment], ChunkCheckpoint(header(), event, latents_digest(latents), latents)


def summaries(store: RunStore) -> list[ChunkSummary]:
    return [summarize(chunk.segments) for chunk in store.chunks]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path, FACTS)
    for index in range(4):
        store.add(*chunk(index))
    store.write_prompts([Prompt("to come", "hard", 9), Prompt("later", "keep", 12, scripted=True)])
    return store


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_was_kept_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    store = RunStore(tmp_path, FACTS)
    for index in range(3):
        store.add(*chunk(index, dtype))
    for one in (store, RunStore.read(tmp_path)):
        past = one.resume_state(exact=True)
        assert past is not None and past.exact and past.num_frames == 12
        assert all(torch.equal(mine, chunk(n, dtype)[1].latents) for n, mine in enumerate(past.latents))
        assert past.latents[0].dtype == dtype
        assert past.record.prompts == (PromptEvent(0, "prompt 0", None), PromptEvent(2, "prompt 1", "soft"))
        assert past.record.chunks == tuple(chunk(n, dtype)[1].digest for n in range(3))


def test_a_run_is_read_as_another_process_left_it(store: RunStore) -> None:
    found = RunStore.read(store.folder)
    assert found.facts == FACTS and found.prompts == store.prompts and found.num_bytes == store.num_bytes
    assert (found.num_chunks, found.num_frames, found.record()) == (4, 16, store.record())
    assert list(found.segments()) == list(store.segments()) == [chunk(n)[0][0] for n in range(4)]
    assert list(found.segments(first=2)) == [chunk(n)[0][0] for n in (2, 3)]
    found.add(*chunk(4))
    assert RunStore.read(store.folder).num_chunks == 5


def test_a_chunk_can_be_looked_up_and_is_summarized_without_its_pictures(store: RunStore) -> None:
    for one in (store, RunStore.read(store.folder)):
        assert one.chunk(2) == chunk(2)[0] and one.chunk(2)[0].thumbnail == b"thumbnail 2"
        assert one.chunk(4) == []
        assert [summary.index for summary in summaries(one)[1:3]] == [1, 2]
        assert summaries(one)[3:] == [
            ChunkSummary(3, 1, "prompt 1", 12, 4, 16, b"thumbnail 3", chunk(3)[0][0].report)
        ]


def test_a_chunk_of_several_segments_is_one_summary(tmp_path: Path) -> None:
    segments, checkpoint = chunk(0)
    head = dataclasses.replace(segments[0], num_frames=1, ends_chunk=False, thumbnail=b"")
    rest = dataclasses.replace(segments[0], first_frame=1, num_frames=8, thumbnail=b"small")
    store = RunStore(tmp_path, FACTS)
    store.add([head, rest], checkpoint)
    assert summaries(store) == [ChunkSummary(0, 0, "prompt 0", 0, 9, 16, b"small", rest.report)]
    assert store.chunk(0) == [head, rest]


def test_a_run_that_an_older_version_stored_has_no_thumbnails_and_is_read(store: RunStore) -> None:
    path = store.folder / STORY
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for line in lines:
        for segment in line.get("chunk", {}).get("segments", []):
            del segment["thumbnail"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = RunStore.read(store.folder)
    assert [summary.thumbnail for summary in summaries(found)] == [b""] * 4
    assert list(found.segments()) == [dataclasses.replace(chunk(n)[0][0], thumbnail=b"") for n in range(4)]


@pytest.mark.parametrize("lost", [1, 30, 200])
@pytest.mark.parametrize("name", [STORY, LATENTS, SEGMENTS])
def test_a_torn_end_costs_the_torn_chunks_only(store: RunStore, name: str, lost: int) -> None:
    path = store.folder / name
    os.truncate(path, path.stat().st_size - lost)
    found = RunStore.read(store.folder)
    assert 2 <= found.num_chunks <= 4
    found.add(*chunk(found.num_chunks))
    again = RunStore.read(store.folder)
    assert again.num_chunks == found.num_chunks
    assert list(again.segments()) == [chunk(n)[0][0] for n in range(again.num_chunks)]
    past = again.resume_state(exact=False)
    assert past is not None and [latents_digest(one) for one in past.latents] == list(past.record.chunks)


def test_latents_that_went_bad_end_the_story_before_them(store: RunStore) -> None:
    data = bytearray((store.folder / LATENTS).read_bytes())
    data[len(data) // 2 + 5] ^= 255
    (store.folder / LATENTS).write_bytes(data)
    assert RunStore.read(store.folder).num_chunks == 2


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name, content in (
        ("a", b""),
        ("b", b"no json\n"),
        ("c", b'{"chunk": {}}\n'),
        ("d", b"[1]\n"),
        ("e", None),
    ):
        (home / name).mkdir(parents=True)
        if content is not None:
            (home / name / STORY).write_bytes(content)
    assert list(stored_runs(home)) == []
    for name in "abcd":
        with pytest.raises(SessionFileError, match="There is no run"):
            RunStore.read(home / name)


def test_a_full_disk_is_told_once_and_what_was_kept_before_stays(store: RunStore) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((store.folder / SEGMENTS).stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(MediaError):
            store.add(*chunk(4))
        store.add(*chunk(5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    record = store.record()
    assert record is not None and len(record.chunks) == 6, "the session file knows all chunks"
    with pytest.raises(SessionFileError, match="disk was full"):
        store.resume_state(exact=True)
    assert RunStore.read(store.folder).num_chunks == 4


def test_a_take_is_all_its_segments_and_none_is_an_error_in_words(store: RunStore, tmp_path: Path) -> None:
    import av

    with av.open(str(write_video(store, tmp_path / "take.mp4"))) as video:
        assert sum(1 for _ in video.decode(video=0)) == 16
    (tmp_path / "new").mkdir()
    empty = RunStore(tmp_path / "new", FACTS)
    assert empty.resume_state(exact=True) is None
    with pytest.raises(MediaError):
        write_video(empty, tmp_path / "none.mp4")
    with pytest.raises(SessionFileError, match="Nothing was made"):
        write_session(empty, tmp_path / "none.json")


def test_dropped_chunks_are_gone_and_others_take_their_place(store: RunStore) -> None:
    before = list(store.segments())
    store.rewind(2)
    assert (store.num_chunks, store.num_frames, store.last_prompt_chunk) == (2, 8, 0)
    record = store.record()
    assert record is not None and len(record.chunks) == 2 and len(record.prompts) == 1
    for index in (2, 3):
        store.add(*chunk(index, torch.float16))  # other latents
    for found in (store, RunStore.read(store.folder)):
        assert list(found.segments()) == before
        assert found.record() == store.record() != record
        state = found.resume_state(exact=True)
        assert state is not None and state.latents[2].dtype == torch.float16
        assert state.latents[1].dtype == torch.float32


def test_the_index_of_chunks(store: RunStore) -> None:
    chunks = store.chunks
    assert [chunks.first_from(second) for second in (0.0, 0.01, 0.25, 0.3, 99.0)] == [0, 1, 1, 2, 4]
    assert [chunks.first_after(second, at_most=3) for second in (0.0, 0.25, 0.6, 9.0)] == [1, 1, 2, 4]
    assert [chunks.prompt_index_before(chunk) for chunk in (0, 1, 2, 3)] == [-1, 0, 0, 1]
    assert list(chunks.spans())[2] == (1, "prompt 1", 0.5, 0.75)


def test_a_fit_that_comes_later_is_kept_with_its_chunk_unless_that_was_made_anew(
    store: RunStore, tmp_path: Path
) -> None:
    late = (ChunkFit(1, 0, 0.75), ChunkFit(3, 0, 0.5), ChunkFit(2, 1, 1.0), ChunkFit(9, 1, 0.5))
    known = store.known_fits(late)
    assert known == (late[0], late[2]), "chunk 3 is another prompt's by now, and there is no chunk 9"
    store.add_fits(known)
    for one in (store, RunStore.read(tmp_path)):
        reports = [summary.report for summary in summaries(one)]
        assert [report and report.fit for report in reports] == [None, 0.75, 1.0, None]
        assert reports[2] == dataclasses.replace(chunk(2)[0][0].report, fit=1.0)  # type: ignore[type-var]
        (segment,) = one.chunk(1)
        assert segment.report == reports[1], "as the page gets it when it looks back"
    store.rewind(2)
    assert [one.report and one.report.fit for one in summaries(RunStore.read(tmp_path))] == [None, 0.75]
