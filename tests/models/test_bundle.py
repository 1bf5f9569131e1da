"""A bundle at another of its model's sizes."""

from pathlib import Path

import pytest
import torch

from longlive import ConfigError, ModelBundle, Session, load_models
from tests.support.tiny_model import write_tiny_model

RED, BLUE, STAR = "a red ball", "a blue cube", "the star jumps"
PORTRAIT = (32, 48)


def made(models: ModelBundle) -> list[torch.Tensor]:
    """Latents and pictures of a session in which every kind of switch happens, and the window rolls."""
    with Session(models, RED, seed=7) as session:
        parts: list[torch.Tensor] = []
        for index in range(8):
            if index in (2, 4, 6):
                session.set_prompt(*{2: (BLUE, "soft"), 4: (STAR, "hard"), 6: (RED, "keep")}[index])
            latents = session.next_latents()
            parts += [latents.latents, torch.from_numpy(session.decode(latents).frames)]
    return parts


@pytest.mark.parametrize("facts", [{}, {"positions": "absolute"}, {"context_transformer": True}])
def test_it_makes_what_a_model_of_that_size_makes_bit_for_bit(facts: dict, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "both", sizes=(PORTRAIT,), **facts)
    write_tiny_model(tmp_path / "upright", height=48, width=32, **facts)
    both, upright = load_models(tmp_path / "both"), load_models(tmp_path / "upright")
    landscape = made(both)
    expected = made(upright)
    found = made(both.at_size(PORTRAIT))
    assert found[0].shape == (1, 3, 4, 6, 4) and found[1].shape == (9, 48, 32, 3)
    assert all(map(torch.equal, found, expected)), "the grid of positions, and all else, is that of the size"
    assert all(map(torch.equal, made(both), landscape)), "the other size is as it was"


def test_it_shares_all_weights(two_size_models: ModelBundle) -> None:
    upright = two_size_models.at_size(PORTRAIT)
    for name, value in vars(two_size_models).items():
        assert name == "config" or getattr(upright, name) is value
    assert two_size_models.at_size(None) is two_size_models.at_size((48, 32)) is two_size_models


def test_a_size_that_the_model_does_not_have_is_refused(two_size_models: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="the pictures of two-sizes have 48x32 or 32x48"):
        two_size_models.at_size((48, 48))
