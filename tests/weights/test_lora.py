"""LoRA files: pairs by the weight that they change, alpha, merging, and errors that name keys and files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.lora import LoraPair, merge_lora, pair_up, read_lora
from tests.support.tiny_transformer import tiny_transformer


def weights() -> dict[str, Tensor]:
    return tiny_transformer().state_dict()


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
    merged = merge_lora(state, pair_up(lora), 0.5)
    update = 0.5 * lora[f"{name}.lora_B.weight"] @ lora[f"{name}.lora_A.weight"]
    assert torch.allclose(merged[ours], state[ours] + update, atol=1e-6)
    assert all(torch.equal(merged[other], state[other]) for other in state if other != ours)


def test_a_lora_is_merged_in_float32_and_rounded_once() -> None:
    state = {name: tensor.bfloat16() for name, tensor in weights().items()}
    lora = {k: v.bfloat16() for k, v in lora_for("blocks.0.self_attn.q", rank=8).items()}
    down, up = (lora[f"blocks.0.self_attn.q.lora_{half}.weight"].float() for half in "AB")
    expected = (state["blocks.0.attn1.to_q.weight"].float() + up @ down).bfloat16()
    assert torch.equal(merge_lora(state, pair_up(lora))["blocks.0.attn1.to_q.weight"], expected)


def test_adapter_names_that_peft_keeps_in_memory_are_read_too() -> None:
    plain = lora_for("base_model.model.blocks.0.ffn.0")
    named = {key.replace(".weight", ".default.weight"): tensor for key, tensor in plain.items()}
    one, other = pair_up(named), pair_up(plain)
    assert one.keys() == other.keys() == {"blocks.0.ffn.net.0.proj.weight"}
    assert torch.equal(one["blocks.0.ffn.net.0.proj.weight"].up, other["blocks.0.ffn.net.0.proj.weight"].up)


def test_each_pair_has_its_own_rank_and_scale() -> None:
    tensors = lora_for("blocks.0.self_attn.q", rank=2) | lora_for("blocks.1.self_attn.q", rank=8)
    lora = pair_up(tensors, alpha=4)
    assert [(pair.rank, pair.scale) for pair in lora.values()] == [(2, 2.0), (8, 0.5)]
    state = weights()
    merged = merge_lora(state, lora)
    for name, pair in lora.items():
        torch.testing.assert_close(merged[name], state[name] + 4 / pair.rank * pair.up @ pair.down)
    assert LoraPair(torch.zeros(3, 4), torch.zeros(4, 3)).scale == 1.0, "no alpha is given"


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"blocks.0.self_attn.q.weight": torch.zeros(1)}, "'blocks.0.self_attn.q.weight' is no LoRA key"),
        (
            {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(1)},
            "only one of A and B for blocks.0.attn1.to_q",
        ),
        (lora_for("blocks.9.self_attn.q"), "changes blocks.9.attn1.to_q.weight, which the model lacks"),
        (
            {name: half[:, :2] for name, half in lora_for("blocks.0.self_attn.q").items()},
            "does not fit the shape of blocks.0.attn1.to_q.weight",
        ),
        (
            {name: half[0] for name, half in lora_for("blocks.0.self_attn.q").items()},
            "does not fit the shape of blocks.0.attn1.to_q.weight",
        ),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(lora: dict[str, Tensor], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        merge_lora(weights(), pair_up(lora))


def test_a_released_file_gives_its_generators_pairs_with_scale_one(tmp_path: Path) -> None:
    lora = lora_for("base_model.model.blocks.0.self_attn.q")
    other = lora_for("base_model.model.blocks.1.self_attn.q")
    torch.save({"generator_lora": lora, "critic_lora": other, "step": 3000}, tmp_path / "lora.pt")
    (name,), (pair,) = zip(*read_lora(tmp_path / "lora.pt").items(), strict=True)
    assert (name, pair.alpha, pair.scale) == ("blocks.0.attn1.to_q.weight", None, 1.0)
    assert torch.equal(pair.down, lora["base_model.model.blocks.0.self_attn.q.lora_A.weight"])


@pytest.mark.parametrize(("alpha", "scale"), [("6", 3.0), ("0.5", 0.25), (None, 1.0)])
def test_the_alpha_in_a_files_metadata_decides_the_scale(
    tmp_path: Path, alpha: str | None, scale: float
) -> None:
    path = tmp_path / "lora.safetensors"
    save_file(lora_for("blocks.0.attn1.to_q"), path, metadata=None if alpha is None else {"alpha": alpha})
    (pair,) = read_lora(path).values()
    assert pair.scale == scale


def test_what_is_no_lora_is_refused_by_the_files_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone.safetensors holds no readable LoRA: .*is missing"):
        read_lora(tmp_path / "gone.safetensors")
    (tmp_path / "broken.pt").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"broken.pt holds no readable LoRA"):
        read_lora(tmp_path / "broken.pt")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other.safetensors holds no LoRA: no key has \.lora_A"):
        read_lora(tmp_path / "other.safetensors")
