"""Long streams: time and memory of a chunk stay what they were once the window was full."""

import gc
import statistics
import time

import pytest
import torch

from longlive import ModelBundle, Session


def live_tensors() -> tuple[int, int]:
    """How many tensors there are in this process, and their bytes."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) in (torch.Tensor, torch.nn.Parameter)]
    return len(tensors), sum(tensor.nbytes for tensor in tensors)


@pytest.mark.slow
def test_an_sgf_plus_stream_stays_flat(two_set_models: ModelBundle) -> None:
    """Relative positions, a sink of four chunks of one latent, two sets of weights; prompts that change.

    The table of positions has 64 entries; this stream has 240 latents. An hour was measured by ``bench``.
    """
    spent: list[float] = []
    with Session(two_set_models, "a red ball", seed=1, chunk=1, window=21, sink=4) as session:

        def advance(num_chunks: int) -> tuple[int, int]:
            for _ in range(num_chunks):
                if session.num_chunks % 40 == 39:
                    session.set_prompt(("a blue cube", "a red ball")[session.num_chunks // 40 % 2])
                begun = time.thread_time()
                latents = session.next_latents().latents
                spent.append(time.thread_time() - begun)
            assert latents.isfinite().all() and latents.abs().max() < 100
            return live_tensors()

        early = advance(60)
        late = advance(180)
        cache = session._generator.latents.cache
        assert (cache.num_remembered, cache.is_relative) == (21, True)
    assert late == early
    first, last = statistics.median(spent[25:100]), statistics.median(spent[-75:])
    assert last < 1.5 * first, f"{first * 1000:.1f} ms, later {last * 1000:.1f} ms"
