"""Released names to ours and back, prefixes, LoRA, and errors that name the keys."""

import pytest
import torch
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.key_mapping import (
    check_names,
    transformer_from_released,
    transformer_to_released,
    umt5_from_released,
)
from longlive.weights.lora import merge_lora
from tests.support.tiny_transformer import tiny_transformer


def weights() -> dict[str, Tensor]:
    return tiny_transformer().state_dict()


def test_names_survive_the_way_there_and_back() -> None:
    state = weights()
    released = transformer_to_released(state)
    assert released["blocks.1.norm3.weight"] is not None
    assert released["head.modulation"].shape == state["scale_shift_table"].shape
    back = transformer_from_released(released)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_names_agree_with_diffusers_own_converter() -> None:
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    released = transformer_to_released(weights())
    theirs = convert_wan_transformer_to_diffusers(dict(released))
    ours = transformer_from_released(released)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize(
    "prefixed", ["model.{}", "model._fsdp_wrapped_module.{}", "_fsdp_wrapped_module.model.{}"]
)
def test_wrappers_prefixes_are_removed(prefixed: str) -> None:
    state = weights()
    released = {prefixed.format(name): tensor for name, tensor in transformer_to_released(state).items()}
    inside = {name.replace("blocks.0.", "blocks.0._fsdp_wrapped_module."): t for name, t in released.items()}
    assert transformer_from_released(inside).keys() == state.keys()


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0.self_attn.z.weight",
        "blocks.0.norm1.weight",
        "img_emb.proj.0.weight",
        "head.head.scale",
        "freqs",
    ],
)
def test_a_key_that_wan_does_not_have_is_named(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"unexpected keys: {name}"):
        transformer_from_released({**transformer_to_released(weights()), name: torch.zeros(1)})


def test_missing_and_unexpected_keys_are_both_named() -> None:
    with pytest.raises(CheckpointError, match=r"the file does not fit.*missing: a, b; unexpected: d"):
        check_names(["c", "d"], ["a", "b", "c"], "the file")
    check_names(["a"], ["a"], "the file")


def test_many_names_are_cut_short() -> None:
    with pytest.raises(CheckpointError, match=r"k0, k1, k2, k3, k4 and 5 more"):
        check_names([], [f"k{i}" for i in range(10)], "the file")


def test_umt5_names_have_their_place_and_unknown_ones_are_named() -> None:
    names = {
        "token_embedding.weight": "shared.weight",
        "norm.weight": "encoder.final_layer_norm.weight",
        "blocks.3.pos_embedding.embedding.weight": (
            "encoder.block.3.layer.0.SelfAttention.relative_attention_bias.weight"
        ),
        "blocks.3.ffn.gate.0.weight": "encoder.block.3.layer.1.DenseReluDense.wi_0.weight",
        "blocks.3.ffn.fc2.weight": "encoder.block.3.layer.1.DenseReluDense.wo.weight",
    }
    assert list(umt5_from_released(dict.fromkeys(names, torch.zeros(1)))) == list(names.values())
    with pytest.raises(CheckpointError, match=r"unexpected keys: decoder\.weight"):
        umt5_from_released({"decoder.weight": torch.zeros(1)})


def lora_for(*names: str, rank: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(1)
    lora = {}
    for name in names:
        out, into = (32, 24) if name.endswith("ffn.0") else (24, 24)
        lora[f"{name}.lora_A.weight"] = torch.randn(rank, into)
        lora[f"{name}.lora_B.weight"] = torch.randn(out, rank)
    return lora


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("base_model.model.blocks.1.self_attn.o", "blocks.1.attn1.to_out.0.weight"),
        ("base_model.model.blocks.0.cross_attn.k", "blocks.0.attn2.to_k.weight"),
        ("base_model.model.blocks.0.ffn.0", "blocks.0.ffn.net.0.proj.weight"),
        ("base_model.model.model.blocks.0.self_attn.q", "blocks.0.attn1.to_q.weight"),
        ("base_model.model.blocks.0.attn1.to_q", "blocks.0.attn1.to_q.weight"),
    ],
)
def test_a_lora_adds_its_scaled_product_to_one_weight(name: str, ours: str) -> None:
    state, lora = weights(), lora_for(name)
    merged = merge_lora(state, lora, 0.5)
    update = 0.5 * lora[f"{name}.lora_B.weight"] @ lora[f"{name}.lora_A.weight"]
    assert torch.allclose(merged[ours], state[ours] + update, atol=1e-6)
    assert all(torch.equal(merged[other], state[other]) for other in state if other != ours)


def test_a_lora_is_merged_in_float32_and_rounded_once() -> None:
    state = {name: tensor.bfloat16() for name, tensor in weights().items()}
    lora = {k: v.bfloat16() for k, v in lora_for("blocks.0.self_attn.q", rank=8).items()}
    down, up = (lora[f"blocks.0.self_attn.q.lora_{half}.weight"].float() for half in "AB")
    expected = (state["blocks.0.attn1.to_q.weight"].float() + up @ down).bfloat16()
    assert torch.equal(merge_lora(state, lora, 1.0)["blocks.0.attn1.to_q.weight"], expected)


def test_adapter_names_that_peft_keeps_in_memory_are_read_too() -> None:
    state, plain = weights(), lora_for("base_model.model.blocks.0.ffn.0")
    named = {key.replace(".weight", ".default.weight"): tensor for key, tensor in plain.items()}
    merged, expected = merge_lora(state, named, 1.0), merge_lora(state, plain, 1.0)
    assert all(torch.equal(merged[name], expected[name]) for name in state)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"blocks.0.self_attn.q.weight": torch.zeros(1)}, "'blocks.0.self_attn.q.weight' is no LoRA key"),
        (
            {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(1)},
            "only one of A and B for blocks.0.attn1.to_q",
        ),
        (lora_for("blocks.9.self_attn.q"), "changes blocks.9.attn1.to_q.weight, which the model lacks"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(lora: dict[str, Tensor], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        merge_lora(weights(), lora, 1.0)
