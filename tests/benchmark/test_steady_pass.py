"""The pass that is timed and profiled."""

from torch import Tensor

from longlive import ModelBundle
from longlive.benchmark.steady_pass import steady_pass
from longlive.models.attention import Backend, attend


def test_a_steady_pass_sees_a_full_window(tiny_models: ModelBundle) -> None:
    seen = []
    backend = tiny_models.transformer.backend

    def spy(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        seen.append((queries.shape[1], keys.shape[1]))
        return attend(queries, keys, values)

    tiny_models.transformer.backend = Backend("spy", spy)
    try:
        run = steady_pass(tiny_models)
        run()
    finally:
        tiny_models.transformer.backend = backend
    tokens = tiny_models.config.tokens_per_latent
    assert set(seen) == {(3 * tokens, 12 * tokens)}
