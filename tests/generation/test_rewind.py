"""Chunks that are dropped again: what follows is as if they had never been made."""

from typing import Any

import numpy as np
import pytest
import torch

from longlive import ModelBundle, Session
from longlive.chunks import FrameChunk, SwitchMode
from longlive.errors import ConfigError
from longlive.generation.latent_stream import MAX_REWIND_CHUNKS
from longlive.models import decoder

RED, BLUE = "a red ball", "a blue cube"
DROPPED, FIRST = 3, 2


def straight(models: ModelBundle, num_chunks: int, switch: SwitchMode, **stream: Any) -> list[FrameChunk]:
    """A session that switches at ``num_chunks`` and goes on for two chunks."""
    session = Session(models, RED, seed=7, **stream)
    chunks = [session.next_chunk() for _ in range(num_chunks)]
    session.set_prompt(BLUE, switch)
    return [*chunks, session.next_chunk(), session.next_chunk()]


def rewound(
    models: ModelBundle, num_chunks: int, switch: SwitchMode, dropped: int = DROPPED, **stream: Any
) -> tuple[Session, list[FrameChunk]]:
    """The same, but the session had gone on for some more chunks before."""
    session = Session(models, RED, seed=7, **stream)
    chunks = [session.next_chunk() for _ in range(num_chunks + dropped)]
    session.rewind(num_chunks)
    session.set_prompt(BLUE, switch)
    return session, [*chunks[:num_chunks], session.next_chunk(), session.next_chunk()]


def assert_same(some: list[FrameChunk], others: list[FrameChunk]) -> None:
    assert [chunk.index for chunk in some] == [chunk.index for chunk in others]
    for one, other in zip(some, others, strict=True):
        assert (one.first_frame, one.prompt) == (other.first_frame, other.prompt)
        np.testing.assert_array_equal(one.frames, other.frames)


# The window of the tiny model has 4 chunks: the cases lie before, at and after the point where it rolls.
@pytest.mark.parametrize("num_chunks", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("switch", ["soft", "hard"])
def test_what_follows_is_the_same_as_if_the_dropped_chunks_had_not_been_made(
    tiny_models: ModelBundle, num_chunks: int, switch: SwitchMode
) -> None:
    session, chunks = rewound(tiny_models, num_chunks, switch)
    assert_same(chunks, straight(tiny_models, num_chunks, switch))
    assert session.num_chunks == len(session.digests) == num_chunks + 2
    assert session.seconds == chunks[-1].start_seconds + chunks[-1].seconds


def test_a_rollout_goes_back_to_what_it_repeats_and_not_beyond(tiny_models: ModelBundle) -> None:
    """Rollouts of 12 latents that overlap by 3 begin with chunks 3, 6 and so on."""
    stream: dict[str, Any] = {"window": 12, "overlap": 3}
    session, chunks = rewound(tiny_models, 7, "soft", 2, **stream)
    assert_same(chunks, straight(tiny_models, 7, "soft", **stream))
    assert session.seconds == chunks[-1].start_seconds + chunks[-1].seconds
    session = Session(tiny_models, RED, seed=7, **stream)
    for _ in range(9):
        session.next_latents()
    assert session._generator.earliest_rewind == 7


@pytest.mark.parametrize("switch", ["soft", "hard"])
def test_an_interrupted_start_of_a_rollout_is_made_again(
    tiny_models: ModelBundle, switch: SwitchMode
) -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedError

    for overlap in (3, 6):
        stream: dict[str, Any] = {"window": 12, "overlap": overlap}
        at = 4 - overlap // 3
        session, expected = (
            Session(tiny_models, RED, seed=7, **stream),
            straight(tiny_models, at, switch, **stream),
        )
        chunks = [session.next_chunk() for _ in range(at)]
        with pytest.raises(InterruptedError):
            session.next_latents(on_step=interrupt)
        session.rewind(at)
        session.set_prompt(BLUE, switch)
        assert_same([*chunks, session.next_chunk(), session.next_chunk()], expected)


def test_a_second_set_of_weights_and_a_sink_of_several_chunks(two_set_models: ModelBundle) -> None:
    stream: dict[str, Any] = {"chunk": 1, "window": 7, "sink": 4}
    _, chunks = rewound(two_set_models, 9, "soft", **stream)
    assert_same(chunks, straight(two_set_models, 9, "soft", **stream))


@pytest.mark.parametrize("stream", [{"window": -1}, {"positions": "relative"}, {"global_sink": False}])
def test_it_holds_for_other_windows_too(tiny_models: ModelBundle, stream: dict[str, Any]) -> None:
    _, chunks = rewound(tiny_models, 6, "soft", **stream)
    assert_same(chunks, straight(tiny_models, 6, "soft", **stream))


def test_as_many_chunks_as_can_be_dropped(tiny_models: ModelBundle) -> None:
    _, chunks = rewound(tiny_models, 6, "soft", dropped=MAX_REWIND_CHUNKS)
    assert_same(chunks, straight(tiny_models, 6, "soft"))


def test_the_decoder_reads_the_latents_again_where_its_states_take_too_much_memory(
    tiny_models: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "MAX_KEPT_BYTES", 0)
    _, chunks = rewound(tiny_models, 5, "soft")
    monkeypatch.undo()
    assert_same(chunks, straight(tiny_models, 5, "soft"))


def test_a_rewound_session_is_recorded_and_replayed_like_any_other(tiny_models: ModelBundle) -> None:
    session, chunks = rewound(tiny_models, 5, "soft")
    record = session.record()
    assert [(event.chunk, event.text, event.switch) for event in record.prompts] == [
        (0, RED, None),
        (5, BLUE, "soft"),
    ]
    again = Session.of_record(tiny_models, record)
    assert_same([again.next_chunk() for _ in record.chunks], chunks)
    assert again.digests == record.chunks


def test_a_session_can_be_rewound_again_after_chunks_were_dropped(tiny_models: ModelBundle) -> None:
    session, _ = rewound(tiny_models, 5, "soft")  # 7 chunks, the prompt of the last two came at chunk 5
    session.next_chunk()
    session.rewind(6)
    session.set_prompt(RED)
    last = session.next_chunk()
    other = Session(tiny_models, RED, seed=7)
    for index in range(7):
        if index in (5, 6):
            other.set_prompt(BLUE if index == 5 else RED)
        expected = other.next_chunk()
    assert_same([last], [expected])


def test_a_resumed_session_can_be_rewound(tiny_models: ModelBundle) -> None:
    first = Session(tiny_models, RED, seed=7)
    latents = [first.next_latents().latents for _ in range(8)]
    for exact in (True, False):
        session = Session.resume(tiny_models, first.record(), latents, exact=exact)
        session.rewind(6)
        session.set_prompt(BLUE, "soft")
        assert_same([session.next_chunk(), session.next_chunk()], straight(tiny_models, 6, "soft")[-2:])


@pytest.mark.parametrize("num_chunks", [0, 2, 9, -1])
def test_it_goes_back_to_no_chunk_before_the_last_prompt_and_to_none_beyond_the_end(
    tiny_models: ModelBundle, num_chunks: int
) -> None:
    session = Session(tiny_models, RED, seed=7)
    for index in range(8):
        if index == FIRST:
            session.set_prompt(BLUE)
        session.next_latents()
    assert session._generator.earliest_rewind == FIRST + 1
    with pytest.raises(ValueError, match=f"cannot go back to {num_chunks} chunks.*at least 3"):
        session.rewind(num_chunks)
    assert session.num_chunks == 8
    session.rewind(FIRST + 1)
    assert session.num_chunks == 3


def test_the_number_of_chunks_that_can_be_dropped_is_bounded(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, seed=7)
    for _ in range(30):
        session.next_latents()
    assert session._generator.earliest_rewind == 30 - MAX_REWIND_CHUNKS
    assert len(session._generator.latents.recent) == MAX_REWIND_CHUNKS + 14, "40 latents for the decoder"


def test_a_drift_cannot_follow_where_the_cache_is_incomplete(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, seed=7)
    for _ in range(8):
        session.next_latents()
    session.rewind(6)
    with pytest.raises(ConfigError, match="no cache to keep"):
        session.set_prompt(BLUE, "keep")
    session.set_prompt(BLUE, "soft")
    assert torch.isfinite(session.next_latents().latents).all()


def test_no_chunk_is_dropped_that_had_other_positions(tiny_models: ModelBundle) -> None:
    """Where absolute positions end, the session changes to relative ones; what was before stays."""
    session = Session(tiny_models, RED, seed=7, positions="absolute")
    limit = tiny_models.config.transformer.rope_max_seq_len // session.stream.chunk
    generator = session._generator
    for _ in range(limit + 2):
        generator.latents.denoise = lambda *_: torch.zeros(1, 3, *tiny_models.config.latent_shape)  # type: ignore[method-assign]
        session.next_latents()
    assert generator.latents.cache.is_relative
    assert session._generator.earliest_rewind == limit


def test_a_chunk_that_was_interrupted_is_made_again_with_the_same_result(tiny_models: ModelBundle) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    session, expected = Session(tiny_models, RED, seed=7), straight(tiny_models, 3, "soft")
    chunks = [session.next_chunk() for _ in range(3)]
    with pytest.raises(Interrupted):
        session.next_latents(on_step=interrupt)
    session.set_prompt(BLUE)
    with pytest.raises(Interrupted):
        session.next_latents(on_step=interrupt)
    assert_same([*chunks, session.next_chunk(), session.next_chunk()], expected)
