"""CLIP scores as they are defined in the result, by a tiny CLIP of random weights."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from longlive.errors import CheckpointError
from longlive.evaluation.clip_score import MEAN, STD, ClipScorer
from tests.support.tiny_clip import SIZE, TOKENS, write_tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def pictures(height: int = SIZE, width: int = SIZE) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 3, height, width), dtype=torch.uint8, generator=rng)


def test_a_score_is_the_cosine_that_the_model_itself_gives(folder: Path) -> None:
    scorer = ClipScorer(str(folder), None)
    prompt = "a red ball jumps"
    mean, std = (torch.tensor(channel).view(3, 1, 1) for channel in (MEAN, STD))
    with torch.no_grad():
        found = scorer._model(
            pixel_values=(pictures() / 255 - mean) / std,
            input_ids=scorer._tokenizer([prompt], return_tensors="pt").input_ids,
        )
    cosines = functional.cosine_similarity(found.image_embeds, found.text_embeds)
    assert scorer.score(pictures(), prompt) == pytest.approx(100 * float(cosines.mean()), abs=1e-3)
    assert scorer.score(pictures(), "a blue cube spins") != scorer.score(pictures(), prompt)


def test_the_middle_of_a_wide_picture_is_seen(folder: Path) -> None:
    scorer, wide = ClipScorer(str(folder), None), pictures(SIZE, 2 * SIZE)
    left, middle = wide[..., :SIZE], wide[..., SIZE // 2 : SIZE // 2 + SIZE]
    assert scorer.score(wide, "a star") == pytest.approx(scorer.score(middle, "a star"), abs=1e-3)
    assert scorer.score(wide, "a star") != pytest.approx(scorer.score(left, "a star"), abs=1e-3)


def test_a_prompt_that_is_too_long_is_divided_at_its_sentences(folder: Path) -> None:
    scorer = ClipScorer(str(folder), None)
    first, second = "a red ball stands on a green meadow.", "the blue star jumps on the cube."
    assert scorer._parts(first) == [first] and scorer._parts(f"{first} {second}") == [first, second]
    parts = torch.stack([scorer._embedding(part) for part in (first, second)])
    whole = scorer._embedding(f"{first} {second}")
    assert torch.allclose(whole, functional.normalize(parts.mean(0), dim=-1), atol=1e-5)
    assert scorer._embedding("a " * 3 * TOKENS).norm() == pytest.approx(1)
    facts = scorer.facts([first, f"{first} {second}", f"{first} {second}"])
    assert facts["divided_prompts"] == 1 and facts["tokens"] == TOKENS
    assert facts["weights_sha256"] == ClipScorer(str(folder), None).facts([])["weights_sha256"]


def test_a_model_that_cannot_be_had_is_named_with_the_pinned_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be had.*clip-vit-base-patch32.*--clip"):
        ClipScorer(str(tmp_path), None)
