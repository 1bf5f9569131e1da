import numpy as np
import pytest
import torch

from longlive.errors import ConfigError
from longlive.generation.noise import MAX_SEED, check_seed, draw_noise

PLACE = {"seed": 7, "take": 1, "chunk": 2, "step": 3}
EXPECTED = [-0.2933390, 1.7038306, 1.5391918]
SHAPE = (1, 3, 4, 4, 6)


def test_the_same_place_gives_the_same_noise_whatever_was_drawn_before() -> None:
    first = draw_noise(SHAPE, **PLACE)
    np.random.default_rng().normal(size=5)
    torch.randn(5)
    draw_noise((50,), seed=0, take=0, chunk=0, step=0)
    assert torch.equal(draw_noise(SHAPE, **PLACE), first)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("name", list(PLACE))
def test_every_part_of_the_place_counts(name: str) -> None:
    moved = draw_noise(SHAPE, **(PLACE | {name: PLACE[name] + 1}))
    assert not torch.isclose(moved, draw_noise(SHAPE, **PLACE)).any()


def test_neighbouring_draws_do_not_overlap() -> None:
    """If the running word of the counter were the step, the second draw would repeat the first, shifted."""
    draws = [draw_noise((4096,), seed=0, take=0, chunk=0, step=step) for step in (0, 1)]
    assert len(torch.cat(draws).unique()) > 8000


def test_the_numbers_are_standard_normals() -> None:
    noise = draw_noise((200_000,), **PLACE)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01


def test_the_numbers_are_these_for_ever() -> None:
    """Session files rely on them."""
    expected = draw_noise((3,), seed=7, take=0, chunk=0, step=0)
    torch.testing.assert_close(expected, torch.tensor(EXPECTED), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.5, "7", True])
def test_an_impossible_seed_is_refused(seed: object) -> None:
    with pytest.raises(ConfigError, match=r"^seed is"):
        check_seed(seed)  # type: ignore[arg-type]


def test_the_largest_seed_works() -> None:
    assert draw_noise((2,), seed=check_seed(MAX_SEED), take=0, chunk=0, step=0).isfinite().all()
