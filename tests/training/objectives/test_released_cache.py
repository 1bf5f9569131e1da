"""The released training's cache: zero keys that stay, calls longer than the window, histories in slots."""

import pytest
import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.training.objectives.released_cache import ReleasedCache
from tests.support.tiny_transformer import CONFIG

TOKENS = 2


def new_cache(*, clip: int = 6, leaks: bool = False, window: int = 6, sink: int = 2) -> ReleasedCache:
    stream = StreamConfig(chunk=2, window=window, sink=sink)
    return ReleasedCache(CONFIG, stream, TOKENS, clip=clip, leaks_gradients=leaks)


def write(cache: ReleasedCache, start: int, number: float, *, num_latents: int = 2) -> tuple[Tensor, Tensor]:
    """Put in keys and values of this number, with gradients if enabled; return the leaf and what is seen."""
    leaf = torch.full((1, num_latents * TOKENS, 2, 12), number, requires_grad=torch.is_grad_enabled())
    seen, _ = cache.extend(0, cache.place(start, num_latents), leaf * 1, leaf * 1)
    return leaf, seen


@torch.no_grad()
def test_what_is_emptied_is_attended_to_as_zeros_until_it_is_written_again() -> None:
    cache = new_cache()
    for start in range(0, 10, 2):
        write(cache, start, start + 1.0)
    cache.empty()
    assert cache.placed == range(10)
    write(cache, 6, 9.0, num_latents=4)
    found = {latent: float(keys.mean()) for latent, (keys, _) in cache.contents(0).items()}
    assert found == {0: 0.0, 1: 0.0, 6: 9.0, 7: 9.0, 8: 9.0, 9: 9.0}


@torch.no_grad()
def test_a_call_from_the_start_may_be_longer_than_the_window_and_a_later_one_may_not() -> None:
    cache = new_cache()
    write(cache, 0, 1.0, num_latents=8)
    assert sorted(cache.contents(0)) == [0, 1, 4, 5, 6, 7]
    with pytest.raises(ValueError, match="exceed the 4 beside the sink"):
        cache.place(2, 6)


def test_new_values_without_gradients_keep_the_old_history_only_if_there_is_a_leak() -> None:
    for leaks in (False, True):
        cache = new_cache(leaks=leaks)
        noisy, _ = write(cache, 0, 1.0)
        with torch.no_grad():
            write(cache, 0, 5.0)
        _, seen = write(cache, 2, 2.0)
        assert float(seen[:, : 2 * TOKENS].mean().detach()) == 5.0
        (slope,) = torch.autograd.grad(seen.sum(), noisy, allow_unused=True)
        assert (slope is not None) is leaks


@pytest.mark.parametrize("rolls_with_gradients", [False, True])
def test_histories_stay_in_their_slots_when_values_move_without_gradients(rolls_with_gradients: bool) -> None:
    """The buffer of 8 is full after latent 7; then latents 6 and 7 get slots and histories of 4 and 5."""
    cache, leaves = new_cache(clip=2, leaks=True), {}
    for start in range(0, 8, 2):
        leaves[start], _ = write(cache, start, float(start))
        with torch.no_grad():
            write(cache, start, start + 0.5)
    with torch.set_grad_enabled(rolls_with_gradients):
        write(cache, 8, 8.0)
    _, seen = write(cache, 8, 8.0)
    assert seen[0, ::TOKENS, 0, 0].tolist() == [0.5, 0.5, 6.5, 6.5, 8.0, 8.0]
    near = seen[:, 2 * TOKENS : 4 * TOKENS]
    slopes = torch.autograd.grad(near.sum(), list(leaves.values()), allow_unused=True)
    reached = [
        start for start, slope in zip(leaves, slopes, strict=True) if slope is not None and slope.any()
    ]
    assert reached == ([6] if rolls_with_gradients else [4])
