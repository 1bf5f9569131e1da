"""Released names to ours and back, prefixes, and errors that name the keys."""

import pytest
import torch
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.key_mapping import (
    check_names,
    dotted_name,
    locate,
    transformer_from_released,
    transformer_to_released,
    umt5_from_released,
)
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
        "blocks.0.modulation.weight",
        "blocks.0.norm3",
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


@pytest.mark.parametrize(
    ("name", "prefix", "ours"),
    [
        ("blocks.0.self_attn.q.weight", "", "blocks.0.attn1.to_q.weight"),
        ("module.model.blocks.11.ffn.0.bias", "module.model.", "blocks.11.ffn.net.0.proj.bias"),
        ("model._fsdp_wrapped_module.head.modulation", "model.", "scale_shift_table"),
        ("a.b.blocks.1._orig_mod.modulation", "a.b.", "blocks.1.scale_shift_table"),
        ("transformer.blocks.3.attn2.norm_k.weight", "transformer.", "blocks.3.attn2.norm_k.weight"),
        ("base_model.model.blocks.0.ffn.2.base_layer.bias", "base_model.model.", "blocks.0.ffn.net.2.bias"),
        ("net.patch_embedding.weight", "net.", "patch_embedding.weight"),
    ],
)
def test_a_parameter_is_found_after_any_prefix(name: str, prefix: str, ours: str) -> None:
    assert locate(name) == (prefix, ours)


@pytest.mark.parametrize(
    "name",
    ["vace_blocks.0.self_attn.q.weight", "double_blocks.0.ffn.0.weight", "first_stage_model.conv1.weight"],
)
def test_parameters_of_other_models_are_not_found(name: str) -> None:
    assert locate(name) is None


@pytest.mark.parametrize(
    ("flat", "dotted"),
    [
        ("lora_unet_blocks_12_self_attn_norm_q", "lora_unet.blocks.12.self_attn.norm_q"),
        ("lora_unet__blocks_0_ffn_2", "lora_unet.blocks.0.ffn.2"),
        ("blocks_0_attn2_to_out_0", "blocks.0.attn2.to_out.0"),
        ("lora_unet_time_projection_1", "lora_unet.time_projection.1"),
        ("lora_unet_condition_embedder_time_proj", "lora_unet.condition_embedder.time_proj"),
        ("head_head", "head.head"),
        ("lora_unet_vace_blocks_0_ffn_0", "lora_unet_vace_blocks_0_ffn_0"),
        ("lora_unet_double_blocks_0_ffn_0", "lora_unet_double_blocks_0_ffn_0"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
        ("model.blocks.0.ffn.0", "model.blocks.0.ffn.0"),
        ("lora_unet_blocks_12.self_attn.k", "lora_unet.blocks.12.self_attn.k"),
        ("lora_unet_head.head", "lora_unet.head.head"),
        ("lora_unet_vace_blocks.0.ffn.0", "lora_unet_vace_blocks.0.ffn.0"),
        ("audio_blocks_0.self_attn.q", "audio_blocks_0.self_attn.q"),
    ],
)
def test_kohyas_names_get_their_dots(flat: str, dotted: str) -> None:
    assert dotted_name(flat) == dotted
