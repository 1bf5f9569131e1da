"""What only the cache for training can do: run calls again, be restored."""

import torch

from longlive.config import StreamConfig
from longlive.models.list_cache import ListCache
from tests.support.kv_pairs import TOKENS, pair
from tests.support.tiny_transformer import CONFIG


def test_a_call_run_again_sees_what_it_saw_and_leaves_the_memory_alone() -> None:
    """Gradient checkpointing runs earlier calls again during the backward pass."""
    cache = ListCache(CONFIG, StreamConfig(window=6, sink=0), TOKENS)
    first = cache.place(0, 3)
    cache.extend(0, first, *pair(3))
    early = cache.place(3, 3)
    seen = cache.extend(0, early, *pair(3, seed=1))
    for start in (6, 9, 12):
        cache.extend(0, cache.place(start, 3), *pair(3, seed=start))
    before = cache.contents(0)
    again = cache.extend(0, early, *pair(3, seed=1))
    assert all(torch.equal(old, new) for old, new in zip(seen, again, strict=True))
    assert all(cache.contents(0)[latent][0] is keys for latent, (keys, _) in before.items())


def test_a_restored_cache_goes_on_as_the_first() -> None:
    stream = StreamConfig(window=9, positions="relative")
    whole = ListCache(CONFIG, stream, TOKENS)
    for start in range(30, 48, 3):
        slots = whole.place(start, 3)
        for layer in range(CONFIG.num_layers):
            whole.extend(layer, slots, *pair(3, seed=start + layer))
    resumed = ListCache(CONFIG, stream, TOKENS)
    resumed.restore(whole.placed, [whole.contents(layer) for layer in range(CONFIG.num_layers)])
    assert resumed.placed == range(30, 48) and resumed.has_rolled
    placements = [cache.place(48, 3) for cache in (whole, resumed)]
    assert placements[0].visible == placements[1].visible
    for layer in range(CONFIG.num_layers):
        seen = [
            cache.extend(layer, slots, *pair(3, seed=9))
            for cache, slots in zip((whole, resumed), placements, strict=True)
        ]
        assert torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[0][1], seen[1][1])
