"""The values that pass between the stages."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from longlive import chunks
from longlive.chunks import LatentChunk, latents_digest


def test_the_digest_follows_every_bit_and_not_the_memory_layout() -> None:
    latents = torch.randn(1, 3, 4, 2, 2)
    turned = latents.transpose(3, 4).contiguous().transpose(3, 4)
    assert latents_digest(latents) == latents_digest(turned)
    other = latents.clone()
    other[0, 2, 3, 1, 1] = torch.nextafter(other[0, 2, 3, 1, 1], torch.tensor(10.0))
    assert latents_digest(latents) != latents_digest(other)
    assert len(latents_digest(latents)) == 16


def test_a_chunk_and_its_parts_share_one_digest_which_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    latents, computed = torch.randn(1, 3, 4, 2, 2), []

    def count(given: torch.Tensor) -> str:
        computed.append(given)
        return latents_digest(given)

    monkeypatch.setattr(chunks, "latents_digest", count)
    chunk = LatentChunk(0, 0, "a red ball", 0, latents)
    first, rest = chunk.parts()
    assert not computed, "not before it is asked for"
    with ThreadPoolExecutor(8) as threads:
        digests = set(threads.map(lambda part: part.digest, [chunk, first, rest] * 8))
    assert digests == {latents_digest(latents)}
    assert len(computed) == 1
