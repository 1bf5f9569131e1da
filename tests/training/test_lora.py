"""LoRA by peft: every linear of the blocks and nothing else, the files' names, and merging."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from longlive.models.transformer import CausalWanTransformer
from longlive.training.lora import (
    PREFIX,
    add_lora,
    lora_targets,
    save_lora,
    split_lora,
)
from longlive.weights.formats.key_mapping import transformer_from_released, transformer_to_released
from longlive.weights.formats.lora import merge_lora
from longlive.weights.formats.lora_reading import read_lora
from tests.support.tiny_transformer import random_latents, random_prompt, tiny_transformer


def released_names(lora: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same LoRA under the key names of the released files."""
    renamed = {}
    for name, tensor in lora.items():
        target, _, half = name.removeprefix(PREFIX).rpartition(".lora_")
        released = next(iter(transformer_to_released({f"{target}.weight": tensor})))
        renamed[f"{PREFIX}{released.removesuffix('.weight')}.lora_{half}"] = tensor
    return renamed


def tuned() -> CausalWanTransformer:
    """A tiny transformer whose LoRA says something."""
    transformer = tiny_transformer()
    add_lora(transformer, rank=3, alpha=6)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=rng))
    return transformer


def output(transformer: CausalWanTransformer) -> torch.Tensor:
    with torch.no_grad():
        return transformer(random_latents(3), 500.0, random_prompt(transformer))


def test_ten_linears_of_each_block_get_a_pair_and_nothing_else_is_trained() -> None:
    transformer = tiny_transformer()
    assert len(lora_targets(transformer)) == 10 * 2
    add_lora(transformer, rank=3, alpha=6)
    trained = [name for name, value in transformer.named_parameters() if value.requires_grad]
    assert len(trained) == 2 * 10 * 2
    assert all(name.startswith("blocks.") and ".lora_" in name for name in trained)


def test_a_fresh_lora_changes_nothing_and_its_seed_decides_it() -> None:
    transformer, plain = tiny_transformer(), tiny_transformer()
    torch.manual_seed(3)
    add_lora(transformer, rank=3, alpha=6, seed=1)
    torch.testing.assert_close(output(transformer), output(plain))
    torch.manual_seed(4)
    add_lora(plain, rank=3, alpha=6, seed=1)
    ours, same = split_lora(transformer.state_dict())[1], split_lora(plain.state_dict())[1]
    assert all(torch.equal(value, same[name]) for name, value in ours.items())


def test_gradients_reach_every_pair() -> None:
    transformer = tuned()
    transformer(random_latents(3), 500.0, random_prompt(transformer)).square().sum().backward()
    assert all(value.grad is not None for value in transformer.parameters() if value.requires_grad)


@pytest.mark.parametrize("convert", [dict, released_names], ids=["our names", "released names"])
def test_the_merged_model_computes_what_the_tuned_one_did(convert: Callable, tmp_path: Path) -> None:
    transformer = tuned()
    plain, lora = split_lora(transformer.state_dict())
    assert f"{PREFIX}blocks.0.attn1.to_out.0.lora_A.weight" in lora, "peft's names around ours"
    save_lora(tmp_path / "lora.safetensors", convert(lora), alpha=6)
    read = read_lora(tmp_path / "lora.safetensors")
    assert len(read) == 20 and {pair.scale for pair in read.values()} == {2.0}
    merged = CausalWanTransformer(transformer.config)
    merged.load_state_dict(merge_lora(plain, read))
    torch.testing.assert_close(output(merged), output(transformer), rtol=1e-4, atol=1e-5)


def test_released_and_our_names_of_weights_go_there_and_back() -> None:
    plain = split_lora(tuned().state_dict())[0]
    assert transformer_from_released(transformer_to_released(plain)).keys() == plain.keys()
