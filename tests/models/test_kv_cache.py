"""The ring, its plain twin and the rule that both obey: the sink, and the newest latents beside it."""

import pytest
import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.errors import ConfigError
from longlive.models.kv_cache import KVCache
from longlive.models.list_cache import ListCache
from longlive.models.rope import Rope, rotate
from tests.support.tiny_transformer import CONFIG, STREAMS

TOKENS = 2
CACHES = (KVCache, ListCache)


def pair(num_latents: int, *, batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, batch, num_latents * TOKENS, 2, 12, generator=rng)
    return keys, values


def fill(cache: KVCache | ListCache, start: int, num_latents: int, *, batch: int = 1) -> None:
    slots = cache.place(start, num_latents)
    for layer in range(CONFIG.num_layers):
        cache.extend(layer, slots, *pair(num_latents, batch=batch, seed=start + layer))


def remembered(num_latents: int, stream: StreamConfig) -> list[int]:
    """What a stream may see after ``num_latents`` latents, from the definition."""
    recent = num_latents if stream.window == -1 else stream.window - stream.sink
    return [f for f in range(num_latents) if f < stream.sink or f >= num_latents - recent]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", STREAMS)
def test_the_ring_holds_what_its_plain_twin_holds(name: str, batch: int) -> None:
    """Each chunk is written twice, as denoising does; the later write must win."""
    stream = STREAMS[name]
    ring, twin = KVCache(CONFIG, stream, TOKENS, batch=batch), ListCache(CONFIG, stream, TOKENS)
    for start in range(0, 12 * stream.chunk, stream.chunk):
        for seed in (start, 1000 + start):
            facts, expected = ring.place(start, stream.chunk), twin.place(start, stream.chunk)
            assert facts.query_positions == expected.query_positions
            for layer in range(CONFIG.num_layers):
                new = pair(stream.chunk, batch=batch, seed=seed + layer)
                got, plain = ring.extend(layer, facts, *new), twin.extend(layer, expected, *new)
                order = [list(facts.visible).index(f) for f in expected.visible]
                for mine, theirs in zip(got, plain, strict=True):
                    by_latent = mine.split(TOKENS, 1)
                    assert torch.equal(torch.cat([by_latent[i] for i in order], 1), theirs)
        newest = start + stream.chunk
        assert sorted(ring.contents(0)) == sorted(twin.contents(0)) == remembered(newest, stream)
        assert ring.num_remembered == twin.num_remembered == len(remembered(newest, stream))
        assert ring.has_rolled == twin.has_rolled == (len(remembered(newest, stream)) < newest)


@pytest.mark.parametrize("cache_type", CACHES)
def test_relative_positions_are_ranks_among_the_visible(cache_type: type[KVCache | ListCache]) -> None:
    """The window then always looks the same: sink 0 to S - 1, recent latents S to L - 1, the chunk last."""
    cache = cache_type(CONFIG, StreamConfig(window=7, sink=1, chunk=2, positions="relative"), TOKENS)
    for start in range(0, 40, 2):
        slots = cache.place(start, 2)
        in_time = sorted(slots.visible)
        assert slots.key_positions == tuple(in_time.index(f) for f in slots.visible)
        assert slots.query_positions == (len(in_time) - 2, len(in_time) - 1)
    assert in_time == [0, 34, 35, 36, 37, 38, 39]


@pytest.mark.parametrize("cache_type", CACHES)
def test_absolute_positions_count_from_the_start_of_the_video(cache_type: type[KVCache | ListCache]) -> None:
    cache = cache_type(CONFIG, StreamConfig(), TOKENS)
    for start in range(0, 30, 3):
        slots = cache.place(start, 3)
    assert slots.query_positions == (27, 28, 29)
    assert slots.key_positions is None


def test_nothing_visible_is_copied_or_moved() -> None:
    """A latent's keys stay at one address from the time they are written until they are forgotten."""
    stream = StreamConfig(window=9)
    cache = KVCache(CONFIG, stream, TOKENS)
    addresses: dict[int, int] = {}
    for start in range(0, 30, 3):
        slots = cache.place(start, 3)
        keys, values = cache.extend(0, slots, *pair(3))
        assert keys._base is not None and values._base is not None
        for latent, view in zip(slots.visible, keys.split(TOKENS, 1), strict=True):
            assert addresses.setdefault(latent, view.data_ptr()) == view.data_ptr()
    assert len({addresses[f] for f in range(3, 30)}) == 6


def test_a_chunk_that_wraps_round_the_ring_is_written_in_two_pieces() -> None:
    cache = KVCache(CONFIG, StreamConfig(chunk=3, window=7, sink=2), TOKENS)
    writes = [cache.place(start, 3).writes for start in range(0, 18, 3)]
    assert [len(pieces) for pieces in writes] == [1, 1, 2, 1, 1, 2]
    assert writes[2] == ((slice(0, 2), slice(12, 14)), (slice(2, 6), slice(4, 8)))


def test_an_endless_window_grows_and_keeps_what_it_holds() -> None:
    ring, twin = (kind(CONFIG, StreamConfig(window=-1), TOKENS) for kind in CACHES)
    small = ring.num_bytes
    for cache in (ring, twin):
        for start in range(0, 60, 3):
            fill(cache, start, 3)
    assert ring.num_bytes > small
    for latent, (keys, values) in twin.contents(1).items():
        assert torch.equal(ring.contents(1)[latent][0], keys)
        assert torch.equal(ring.contents(1)[latent][1], values)


def test_memory_and_placements_stay_the_same_for_a_thousand_chunks() -> None:
    cache = KVCache(CONFIG, StreamConfig(positions="relative"), TOKENS)
    size, kinds = cache.num_bytes, set()
    for start in range(0, 3000, 3):
        slots = cache.place(start, 3)
        if start >= 12:
            kinds.add(str((slots.key_positions, slots.query_positions, slots.writes)))
    assert cache.num_bytes == size
    assert len(kinds) == 3


@pytest.mark.parametrize("cache_type", CACHES)
@pytest.mark.parametrize(("start", "num_latents"), [(12, 3), (0, 3), (6, 2), (10, 1), (3, 0)], ids=str)
def test_a_call_that_does_not_continue_the_stream_is_refused(
    cache_type: type[KVCache | ListCache], start: int, num_latents: int
) -> None:
    cache = cache_type(CONFIG, StreamConfig(), TOKENS)
    for first in (0, 3, 6):
        fill(cache, first, 3)
    with pytest.raises(ValueError, match="do not continue a stream that holds 0 to 8"):
        cache.place(start, num_latents)
    assert cache.place(9, 3).visible[-1] == 11


@pytest.mark.parametrize("cache_type", CACHES)
def test_latents_that_are_forgotten_cannot_be_placed_again(cache_type: type[KVCache | ListCache]) -> None:
    cache = cache_type(CONFIG, StreamConfig(window=9), TOKENS)
    for first in range(0, 15, 3):
        fill(cache, first, 3)
    with pytest.raises(ValueError, match="exceed the 6 beside the sink"):
        cache.place(6, 9)


@pytest.mark.parametrize("cache_type", CACHES)
def test_after_a_reset_the_stream_may_start_anywhere_with_a_new_sink(
    cache_type: type[KVCache | ListCache],
) -> None:
    cache = cache_type(CONFIG, StreamConfig(window=9), TOKENS)
    for first in range(0, 12, 3):
        fill(cache, first, 3)
    cache.reset()
    assert cache.num_remembered == 0 and cache.contents(0) == {}
    for first in range(30, 48, 3):
        fill(cache, first, 3)
    assert sorted(cache.contents(0)) == [30, 31, 32, 42, 43, 44, 45, 46, 47]


@pytest.mark.parametrize("cache_type", CACHES)
def test_running_out_of_absolute_positions_names_the_cure(cache_type: type[KVCache | ListCache]) -> None:
    cache = cache_type(CONFIG, StreamConfig(chunk=2, window=6, sink=2), TOKENS)
    for start in range(0, 64, 2):
        cache.place(start, 2)
    with pytest.raises(ConfigError, match=r'latent 65 lies beyond the 64 .* Use positions="relative"'):
        cache.place(64, 2)


@pytest.mark.parametrize("cache_type", CACHES)
def test_more_relative_positions_than_the_table_has_are_refused(
    cache_type: type[KVCache | ListCache],
) -> None:
    cache = cache_type(CONFIG, StreamConfig(window=-1, positions="relative"), TOKENS)
    for start in range(0, 63, 3):
        cache.place(start, 3)
    with pytest.raises(ConfigError, match="more than 64 visible latents"):
        cache.place(63, 3)


def test_going_over_to_relative_positions_undoes_the_rotation_of_every_key() -> None:
    absolute = KVCache(CONFIG, StreamConfig(window=9), TOKENS)
    relative = KVCache(CONFIG, StreamConfig(window=9, positions="relative"), TOKENS)
    rope = Rope(CONFIG.attention_head_dim, CONFIG.rope_max_seq_len)
    for start in range(0, 24, 3):
        keys, values = pair(3, seed=start)
        rotated = rotate(keys, rope.rotation(range(start, start + 3), 1, TOKENS))
        for layer in range(CONFIG.num_layers):
            absolute.extend(layer, absolute.place(start, 3), rotated, values)
            relative.extend(layer, relative.place(start, 3), keys, values)
    for _ in range(2):
        absolute.make_relative(rope, 1, TOKENS)
        for latent, (keys, values) in relative.contents(1).items():
            assert torch.allclose(absolute.contents(1)[latent][0], keys, atol=1e-5)
            assert torch.equal(absolute.contents(1)[latent][1], values)
    assert absolute.place(24, 3) == relative.place(24, 3)


def test_keys_and_values_kept_in_8_bits_take_a_quarter_and_come_back_rounded() -> None:
    plain = KVCache(CONFIG, StreamConfig(), TOKENS)
    rounded = KVCache(CONFIG, StreamConfig(), TOKENS, storage=torch.float8_e4m3fn)
    assert 4 * rounded.num_bytes == plain.num_bytes
    keys, values = pair(3)
    exact = plain.extend(0, plain.place(0, 3), keys, values)
    near = rounded.extend(0, rounded.place(0, 3), keys, values)
    for one, other in zip(near, exact, strict=True):
        assert one.dtype == torch.float32
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=2**-4, atol=2**-10)
    rounded.make_relative(Rope(CONFIG.attention_head_dim, CONFIG.rope_max_seq_len), 1, TOKENS)
    assert rounded.place(3, 3).key_positions == tuple(range(6))


def test_the_ring_refuses_gradients_and_its_twin_carries_them() -> None:
    keys, values = (tensor.requires_grad_() for tensor in pair(3))
    ring, twin = (kind(CONFIG, StreamConfig(), TOKENS) for kind in CACHES)
    with pytest.raises(ValueError, match="Use a ListCache"):
        ring.extend(0, ring.place(0, 3), keys, values)
    twin.extend(0, twin.place(0, 3), keys, values)
    seen, _ = twin.extend(0, twin.place(3, 3), *pair(3, seed=1))
    seen.sum().backward()
    assert torch.equal(keys.grad, torch.ones_like(keys))


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


def test_a_restored_twin_goes_on_as_the_first() -> None:
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


def test_skipped_latents_are_counted_and_cannot_be_seen_before_a_recache() -> None:
    whole, skipping = (KVCache(CONFIG, StreamConfig(window=9), TOKENS) for _ in range(2))
    for start in range(0, 24, 3):
        fill(whole, start, 3)
    fill(skipping, 0, 3)
    for start in range(3, 24, 3):
        skipping.skip(start, 3)
    assert (skipping.num_remembered, skipping.has_rolled) == (9, True)
    with pytest.raises(ValueError, match="latents 18 to 20 were skipped: a recache must come first"):
        skipping.place(21, 3)
    for cache in (whole, skipping):
        fill(cache, 18, 6)
        fill(cache, 24, 3)
    assert skipping.place(24, 3) == whole.place(24, 3)
    for latent, pairs in whole.contents(1).items():
        assert all(map(torch.equal, skipping.contents(1)[latent], pairs))


def test_a_reset_forgets_that_latents_were_skipped() -> None:
    cache = KVCache(CONFIG, StreamConfig(window=9), TOKENS)
    cache.skip(0, 30)
    cache.reset()
    assert cache.place(21, 9).visible == tuple(range(21, 30))
