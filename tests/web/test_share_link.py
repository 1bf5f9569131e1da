"""Share links: they hold all that makes a video, and nothing hostile or broken gets through."""

import random
from dataclasses import replace
from typing import Any

import pytest

from longlive import ModelBundle, Session
from longlive.errors import BusyError, SessionFileError
from longlive.generation.noise import Reseed
from longlive.generation.resume import check_facts
from longlive.generation.session_file import SessionRecord, describe_models
from longlive.web.endpoints.share_link import (
    MAX_LINK_CHARACTERS,
    SharedVideo,
    read_share_link,
    write_share_link,
)
from tests.support.share_links import packed, unpacked

PROMPTS = (
    ("a blue cube <script>alert(1)</script>", "hard"),
    ("der Würfel springt 😀", "soft"),
    ("a star", "keep"),
)


@pytest.fixture(scope="module")
def record(tiny_models: ModelBundle) -> SessionRecord:
    session = Session(tiny_models, "a red ball", seed=2**60 + 7)
    for text, switch in PROMPTS:
        session.next_latents()
        session.next_latents()
        session.set_prompt(text, switch)  # type: ignore[arg-type]
    session.next_latents()
    return session.record()


@pytest.fixture(scope="module")
def link(record: SessionRecord) -> str:
    return write_share_link(SharedVideo.of(record))


def test_a_link_holds_what_makes_the_video(record: SessionRecord, link: str) -> None:
    video = read_share_link(link)
    assert video == SharedVideo.of(record) == read_share_link(f"#{link}")
    assert (video.seed, video.chunks, video.stream) == (2**60 + 7, 7, record.stream)
    assert [event.chunk for event in video.prompts] == [0, 2, 4, 6]
    assert len(link) < 450
    assert all(char.isalnum() or char in "-_.=" for char in link), "nothing in it needs to be escaped"


def test_the_same_chunks_come_out_of_it(tiny_models: ModelBundle, record: SessionRecord, link: str) -> None:
    again = read_share_link(link).record(describe_models(tiny_models))
    assert again.chunks == ("",) * 7 and again.model_digest == record.model_digest
    session = Session.of_record(tiny_models, again)
    for _ in again.chunks:
        session.next_latents()
    assert session.digests == record.chunks


def test_a_link_holds_the_seeds_of_a_branch(tiny_models: ModelBundle, record: SessionRecord) -> None:
    branch = record.branch(5, 99)
    video = read_share_link(write_share_link(SharedVideo.of(branch)))
    assert video.reseeds == (Reseed(5, 99),)
    assert video.record(describe_models(tiny_models)).reseeds == branch.reseeds


def test_of_another_model_it_is_a_record_of_that(tiny_models: ModelBundle, link: str) -> None:
    here = describe_models(tiny_models)
    other = read_share_link(link).record(here | {"model_digest": "ab" * 32})
    assert here["model_digest"].startswith(other.model_digest) and len(other.model_digest) == 16
    with pytest.raises(SessionFileError, match="another model"):
        check_facts(here | {"model_digest": "ab" * 32}, other)
    with pytest.raises(BusyError, match="not loaded"):
        read_share_link(link).record({})


def test_what_no_link_can_hold_is_told(record: SessionRecord) -> None:
    with pytest.raises(SessionFileError, match=r"begins with a picture.*session file"):
        SharedVideo.of(replace(record, start="some latents"))
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=900)) for _ in range(60)]
    prompts = tuple(replace(record.prompts[min(at, 1)], chunk=at, text=text) for at, text in enumerate(texts))
    with pytest.raises(SessionFileError, match=r"60 prompts.*session file"):
        write_share_link(SharedVideo.of(replace(record, prompts=prompts)))


def test_a_link_cut_anywhere_is_told_in_words(link: str) -> None:
    for end in range(len(link)):
        with pytest.raises(SessionFileError, match=r"cannot be opened.*whole link"):
            read_share_link(link[:end])


def test_a_changed_link_is_refused_or_still_a_video(link: str) -> None:
    """The compressed text has a checksum, so a slip of the hand is noticed."""
    rng = random.Random(1)
    for _ in range(300):
        place = rng.randrange(8, len(link))
        other = link[:place] + rng.choice("abcXYZ019-_") + link[place + 1 :]
        try:
            assert read_share_link(other) == read_share_link(link)
        except SessionFileError as error:
            assert "cannot be opened" in str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": "7"},
        {"seed": 2**63},
        {"take": None},
        {"chunks": 10**9},
        {"chunks": True},
        {"frames": -1},
        {"model": 7},
        {"model": "x" * 300},
        {"digest": "ab" * 40},
        {"stream": {"window": 10**30}, "seed": None},
        {"stream": {"sink": 99}},
        {"stream": {"colour": 1}},
        {"stream": []},
        {"stream": {"chunk": 10**300, "window": 10**301}},
        {"reseeds": [[1, -1]]},
        {"reseeds": [7]},
        {"reseeds": 7},
        {"reseeds": [[1, 2, 3]]},
        {"prompts": []},
        {"prompts": "a red ball"},
        {"prompts": [[0, "a", "soft"]]},
        {"prompts": [[1, "a", "soft"]]},
        {"prompts": [[0, "a", None], [0, "b", "soft"]]},
        {"prompts": [[0, "a", None], [2, "b", "fade"]]},
        {"prompts": [[0, "a", None], [2, "b", None]]},
        {"prompts": [[0, "a", None], [2.5, "b", "soft"]]},
        {"prompts": [[0, "a\0b", None]]},
        {"prompts": [[0, "", None]]},
        {"prompts": [[0, "x" * 2001, None]]},
        {"prompts": [[0, "a", None, "more"]]},
        {"prompts": [7]},
        {"prompts": [[0, "a", None], *([at, "b", "soft"] for at in range(1, 3000))]},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_hostile_link_is_refused_in_words(link: str, change: dict[str, Any]) -> None:
    with pytest.raises(SessionFileError, match="cannot be opened"):
        read_share_link(packed(unpacked(link) | change))


@pytest.mark.parametrize(
    "fragment",
    [
        "",
        "#",
        "#top",
        "video=",
        "video=1.",
        "video=2.abcd",
        "video=1.äöü",
        "video=1.<script>",
        None,
        7,
        [],
        "x" * (MAX_LINK_CHARACTERS + 1),
        packed(b"[" * 100_000),
        packed(b"no JSON"),
        packed([]),
        packed(None),
        packed(bytes(9_000_000)),
    ],
    ids=lambda fragment: str(fragment)[:12],
)
def test_what_is_no_link_is_refused_in_words(fragment: Any) -> None:
    with pytest.raises(SessionFileError, match="cannot be opened"):
        read_share_link(fragment)
