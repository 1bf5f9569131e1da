"""FLOPs counted through one and two blocks hold for deep models, and agree with the benchmark's count."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from longlive.benchmark.cost import count_costs
from longlive.config import StreamConfig
from longlive.models.transformer import CausalWanTransformer
from longlive.training.cost.flops import (
    PlannedModel,
    chunk_pass,
    clip_pass,
    count_flops,
    measure_blocks,
    meta_transformer,
)
from longlive.training.cost.memory_estimate import config_of
from longlive.training.recipe import Recipe
from longlive.weights.released import LONGLIVE_1_3B
from tests.support.tiny_recipe import tiny_recipe


@pytest.mark.slow
def test_a_pass_costs_what_the_benchmark_counts() -> None:
    run = Recipe.read("longlive-1.3b-64gpu", "streaming").run
    stream = StreamConfig.of(LONGLIVE_1_3B)
    one_pass = count_flops(
        chunk_pass(LONGLIVE_1_3B, stream), PlannedModel(LONGLIVE_1_3B.transformer, None), run
    )
    assert one_pass == count_costs("longlive-1.3b")["flops_pass"]


@pytest.mark.parametrize("rank", [0, 4])
def test_what_a_block_adds_counts_for_each_of_them(rank: int, tiny_folder: Path, tmp_path: Path) -> None:
    """Three blocks, counted at once, cost as much as extrapolated from one block and two."""
    recipe = tiny_recipe(tiny_folder, tmp_path, generator={"lora_rank": rank})
    config = config_of(str(tiny_folder))
    deep = PlannedModel(dataclasses.replace(config.transformer, num_layers=3), recipe.generator)

    def measure(transformer: CausalWanTransformer, forward: Callable[[], Tensor]) -> int:
        with FlopCounterMode(display=False) as counter:
            forward().sum().backward()
        return int(counter.get_total_flops())

    run = clip_pass(config, 6)
    _, counted = measure_blocks(run, deep, recipe.run, measure, depths=(1, 3))
    assert count_flops(run, deep, recipe.run) == counted


def test_only_the_lora_of_a_meta_model_requires_gradients(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_folder, tmp_path, generator={"lora_rank": 4})
    transformer = meta_transformer(PlannedModel(config_of(str(tiny_folder)).transformer, recipe.generator))
    trained = [name for name, value in transformer.named_parameters() if value.requires_grad]
    assert trained and all(".lora_" in name for name in trained)
    assert all(value.is_meta for value in transformer.parameters())
