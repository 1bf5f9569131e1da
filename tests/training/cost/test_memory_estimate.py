"""The estimated memory: shares of the processes, and sizes of files and published models."""

from pathlib import Path
from typing import Any

import pytest

from longlive import load_models
from longlive.training.cost.memory_estimate import UMT5_XXL, WAN_VAE, config_of
from longlive.training.cost.plan import plan
from longlive.training.recipe import Recipe
from tests.support.tiny_recipe import tiny_recipe


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return plan(Recipe.read("longlive-1.3b-64gpu", "streaming"), "streaming", has_flops=False)


def test_memory_is_shared_among_the_processes(paper: dict[str, Any]) -> None:
    memory = paper["memory_bytes"]
    everything = sum(model["all"] for model in paper["parameters"].values())
    trained = sum(model["trainable"] for model in paper["parameters"].values())
    assert memory["parameters"] == 4 * everything // 64
    assert memory["optimizer"] == pytest.approx(2 * memory["gradients"], abs=8)
    assert memory["gradients"] == pytest.approx(4 * trained / 64, abs=8)
    assert memory["kv cache"] == 2 * 30 * 12 * 1560 * 1536 * 2
    assert memory["activations, checkpointed"] < memory["activations"] / 5
    assert memory["total"] < 80 * 2**30, "it must fit the paper's GPUs"


def test_frozen_parts_have_the_size_of_their_files(
    paper: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    models = load_models(tiny_folder)
    modules = (models.text_encoder.model, models.vae)
    sizes = [sum(value.numel() for value in module.parameters()) for module in modules]
    memory = plan(tiny_recipe(tiny_folder, tmp_path), "dmd", has_flops=False)["memory_bytes"]
    assert memory["text encoder and vae"] == 4 * sum(sizes)
    assert paper["memory_bytes"]["text encoder and vae"] == 2 * UMT5_XXL + 4 * WAN_VAE


def test_more_samples_keep_more_activations(tiny_folder: Path, tmp_path: Path) -> None:
    one, two = (
        plan(tiny_recipe(tiny_folder, tmp_path, run={"micro_batch": size}), "dmd", has_flops=False)[
            "memory_bytes"
        ]
        for size in (1, 2)
    )
    assert two["activations"] == 2 * one["activations"] > 0
    assert one["activations, checkpointed"] < one["activations"]


def test_the_paper_s_models_are_known_without_files() -> None:
    assert config_of("wan-2.1-14b").transformer.num_layers == 40
    assert config_of("wan-2.1-1.3b").transformer == config_of("longlive-1.3b").transformer
