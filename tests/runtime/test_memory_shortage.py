"""Memory runs out while a session runs: nothing is lost, and nothing comes twice."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from longlive import ModelBundle, Session
from longlive.chunks import LatentChunk
from longlive.models.bundle import RuntimeProfile


def break_at(patch: pytest.MonkeyPatch, place: str, models: ModelBundle) -> None:
    """Let the memory run out in the midst of a pass, in the text encoder, or in the decoder."""

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def fail_with(block: Any, name: str, num_latents: range) -> None:
        work = getattr(block, name)
        patch.setattr(block, name, lambda x, *rest: (fail if x.shape[1] in num_latents else work)(x, *rest))

    blocks = models.transformer.blocks
    if place == "denoise":
        patch.setattr(blocks[-1], "post_attention", fail)
    elif place == "remember":
        fail_with(blocks[-1], "remember", range(3, 4))
    elif place == "recache":
        fail_with(blocks[0], "post_attention", range(4, 99))
    elif place == "text":
        patch.setattr(models.text_encoder, "encode", fail)
    else:
        patch.setattr("longlive.models.decoder.to_uint8", fail)


@pytest.mark.parametrize("place", ["denoise", "remember", "text", "recache", "decode"])
def test_after_the_memory_ran_out_a_call_goes_on_where_it_stopped(
    tiny_models: ModelBundle, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Latents, pictures and the session file are those of a run without the fault."""
    plain, session = (Session(tiny_models, "a red ball", seed=3) for _ in range(2))
    handed: list[int] = []
    for number in range(7):
        if number == 5:
            for one in (plain, session):
                one.set_prompt("a blue cube", "keep" if place == "remember" else "soft")
        expected = plain.next_chunk().frames
        if number == 5:
            with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
                break_at(patch, place, tiny_models)
                session.decode(session.next_latents(lambda chunk: handed.append(chunk.index)))
        if number == 5 and place == "decode":
            chunk = LatentChunk(5, 1, "a blue cube", 15, session._generator.latents.recent[-1])
        else:
            chunk = session.next_latents(lambda chunk: handed.append(chunk.index))
        assert np.array_equal(session.decode(chunk).frames, expected)
    assert handed == list(range(7))
    assert session.record() == plain.record()


def test_a_session_goes_on_with_a_downgraded_model(tiny_models: ModelBundle) -> None:
    """Its cache is cast to 8 bits; the video goes on from there."""
    with (
        Session(tiny_models, "a red ball", seed=3) as session,
        Session(tiny_models, "a red ball", seed=3) as plain,
    ):
        for one in (session, plain):
            for _ in range(2):
                one.next_chunk()
        cache = session._generator.latents.cache
        full = cache.num_bytes
        session.models = dataclasses.replace(tiny_models, runtime=RuntimeProfile(cache="fp8"))
        mine, other = session.next_latents().latents, plain.next_latents().latents
        assert 4 * cache.num_bytes == full
        assert session.record().cache == "fp8"
        assert 0 < (mine - other).abs().max() < 0.5 * other.abs().max()
