"""LoRA files: pairs by the weight that they change, alpha, merging, and errors that name keys and files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.lora import Lora, LoraPair, describe_lora, merge_lora
from longlive.weights.formats.lora_reading import pair_up, read_lora
from tests.support.lora_pairs import pairs_for
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
    read = read_lora(tmp_path / "lora.pt")
    assert "; generator_lora is taken, the file also holds critic_lora" in describe_lora(read)
    (name,), (pair,) = zip(*read.items(), strict=True)
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


@pytest.mark.parametrize("fault", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lora_A.weight", "lora_B.weight", "diff_b"])
def test_numbers_that_are_not_finite_are_named(fault: float, name: str, tmp_path: Path) -> None:
    layer = "blocks.0.attn1.to_q"
    tensors = pairs_for(layer) | {f"{layer}.diff_b": torch.ones(24)}
    tensors[f"{layer}.{name}"].view(-1)[5] = fault
    save_file(tensors, tmp_path / "w.safetensors")
    half = {"lora_A.weight": ", A", "lora_B.weight": ", B"}.get(name, ".diff_b")
    with pytest.raises(CheckpointError, match=rf"w.safetensors .*{layer}{half}: 1 of [\d,]+ numbers are NaN"):
        read_lora(tmp_path / "w.safetensors")


@pytest.mark.parametrize("shapes", [((0, 24), (24, 0)), ((), (24, 2))])
def test_a_pair_without_a_rank_is_refused(shapes: tuple[tuple[int, ...], ...], tmp_path: Path) -> None:
    layer = "blocks.0.attn1.to_q"
    halves = {
        f"{layer}.lora_{half}.weight": torch.ones(shape) for half, shape in zip("AB", shapes, strict=True)
    }
    save_file(halves | {f"{layer}.alpha": torch.tensor(4.0)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=rf"{layer}: A has shape .* rank above 0"):
        read_lora(tmp_path / "w.safetensors")


def test_what_is_no_lora_is_refused_by_the_files_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone.safetensors holds no readable LoRA: .*is missing"):
        read_lora(tmp_path / "gone.safetensors")
    (tmp_path / "broken.pt").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"broken.pt holds no readable LoRA"):
        read_lora(tmp_path / "broken.pt")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(
        CheckpointError, match=r"other.safetensors holds no readable LoRA: no key has \.lora_A"
    ):
        read_lora(tmp_path / "other.safetensors")


# Our names of some layers, with the released ones.
LAYERS = {
    "blocks.0.attn1.to_q": "blocks.0.self_attn.q",
    "blocks.1.attn2.to_out.0": "blocks.1.cross_attn.o",
    "blocks.0.ffn.net.0.proj": "blocks.0.ffn.0",
    "blocks.1.ffn.net.2": "blocks.1.ffn.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "proj_out": "head.head",
}
DOWN_UP = (".lora_down.weight", ".lora_up.weight")


def flat(name: str) -> str:
    return name.replace(".", "_")


# Alpha is 3 and the rank 2, so that the scale is 1.5 where alpha is stated as an entry.
FORMATS: dict[str, tuple[Callable[[str, str], str], tuple[str, str], bool]] = {
    "peft": (lambda ours, wan: f"base_model.model.{ours}", (".lora_A.weight", ".lora_B.weight"), False),
    "peft, named": (
        lambda ours, wan: f"base_model.model.{ours}",
        (".lora_A.my_style.weight", ".lora_B.my_style.weight"),
        False,
    ),
    "peft around DDP": (
        lambda ours, wan: f"module.base_model.model.model.{wan}",
        (".lora_A.default.weight", ".lora_B.default.weight"),
        False,
    ),
    "diffusers": (lambda ours, wan: f"transformer.{ours}", (".lora_A.weight", ".lora_B.weight"), False),
    "diffusers, old": (
        lambda ours, wan: f"transformer.{ours}",
        (".lora.down.weight", ".lora.up.weight"),
        True,
    ),
    "kohya": (lambda ours, wan: f"lora_unet_{flat(wan)}", DOWN_UP, True),
    "kohya, two underscores": (lambda ours, wan: f"lora_unet__{flat(wan)}", DOWN_UP, True),
    "kohya, diffusers' names": (lambda ours, wan: f"lora_transformer_{flat(ours)}", DOWN_UP, True),
    "kohya, then dots": (lambda ours, wan: f"lora_unet_{wan.replace('.', '_', 1)}", DOWN_UP, True),
    "LyCORIS": (lambda ours, wan: f"lycoris_{flat(wan)}", DOWN_UP, True),
    "ComfyUI": (lambda ours, wan: f"diffusion_model.{wan}", (".lora_A.weight", ".lora_B.weight"), True),
    "LightX2V": (lambda ours, wan: f"diffusion_model.{wan}", DOWN_UP, True),
    "ComfyUI's model": (lambda ours, wan: f"model.diffusion_model.{wan}", DOWN_UP, True),
    "DiffSynth": (
        lambda ours, wan: f"pipe.dit.{wan}",
        (".lora_A.default.weight", ".lora_B.default.weight"),
        False,
    ),
    "DiffSynth, bare": (lambda ours, wan: wan, (".lora_A.default.weight", ".lora_B.default.weight"), False),
    "loralib": (lambda ours, wan: wan, (".lora_A", ".lora_B"), False),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_every_programs_names_give_the_same_lora(kind: str, suffix: str, tmp_path: Path) -> None:
    name_of, (down, up), has_alpha = FORMATS[kind]
    pairs, tensors = pairs_for(*LAYERS), {}
    for ours, wan in LAYERS.items():
        stem = name_of(ours, wan)
        tensors[stem + down] = pairs[f"{ours}.lora_A.weight"]
        tensors[stem + up] = pairs[f"{ours}.lora_B.weight"]
        tensors |= {f"{stem}.alpha": torch.tensor(3.0, dtype=torch.bfloat16)} if has_alpha else {}
    path = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    lora, state = read_lora(path), weights()
    assert lora.keys() == {f"{ours}.weight" for ours in LAYERS}
    merged, scale = merge_lora(state, lora), 1.5 if has_alpha else 1.0
    for ours in LAYERS:
        added = scale * pairs[f"{ours}.lora_B.weight"] @ pairs[f"{ours}.lora_A.weight"]
        torch.testing.assert_close(merged[f"{ours}.weight"], state[f"{ours}.weight"] + added)
    found = "alpha 3 (its .alpha entry): scale 1.5" if has_alpha else "no alpha is stated: scale 1"
    assert f"LoRA: 6 pairs of rank 2, {found}" in describe_lora(lora)


def test_what_was_found_is_described_kind_by_kind() -> None:
    lora = pair_up(
        pairs_for("blocks.0.attn1.to_q", "blocks.0.attn1.to_k", rank=4)
        | pairs_for("blocks.0.ffn.net.2")
        | {"blocks.0.ffn.net.2.alpha": torch.tensor(3.0), "blocks.0.attn1.to_q.diff_b": torch.ones(24)},
        alpha=8,
    )
    assert describe_lora(lora) == (
        "LoRA: 2 pairs of rank 4, alpha 8 (given): scale 2; "
        "1 pair of rank 2, alpha 3 (its .alpha entry): scale 1.5; 1 whole difference of weights"
    )
    assert "rank 4, alpha 8 (given): scale 0.5 as given; 1 pair " in describe_lora(lora, 0.5)
    many = {str(n): LoraPair(torch.ones(2, 3), torch.ones(3, 2), alpha=float(n)) for n in range(1, 8)}
    assert "and 3 other kinds (scales 0.5 to 3.5)" in describe_lora(Lora(many))
    nothing = describe_lora(pair_up(pairs_for("blocks.0.ffn.net.2")))
    assert "no alpha is stated: scale 1, taken as alpha = rank; --lora-scale changes it" in nothing


def test_whole_differences_are_added_to_weights_biases_and_modulations() -> None:
    state, prefix = weights(), "diffusion_model.blocks.0"
    names = {
        f"{prefix}.self_attn.q.diff_b": "blocks.0.attn1.to_q.bias",
        f"{prefix}.norm3.diff": "blocks.0.norm2.weight",
        f"{prefix}.self_attn.norm_k.diff": "blocks.0.attn1.norm_k.weight",
        f"{prefix}.modulation.diff": "blocks.0.scale_shift_table",
        "diffusion_model.blocks.1.diff_m": "blocks.1.scale_shift_table",
        "diffusion_model.head.diff_m": "scale_shift_table",
        "diffusion_model.patch_embedding.diff": "patch_embedding.weight",
        "lora_unet_blocks_1_ffn_2.diff_b": "blocks.1.ffn.net.2.bias",
    }
    lora = pair_up({name: torch.full_like(state[ours], 0.5) for name, ours in names.items()})
    assert lora.keys() == set(names.values())
    merged, doubled = merge_lora(state, lora), merge_lora(state, lora, 2)
    for ours in names.values():
        torch.testing.assert_close(merged[ours], state[ours] + 0.5)
        torch.testing.assert_close(doubled[ours], state[ours] + 1)
    with pytest.raises(CheckpointError, match=r"does not fit the shape of blocks.0.norm2.weight"):
        merge_lora(state, pair_up({f"{prefix}.norm3.diff": torch.ones(3)}))


def test_the_pair_of_a_convolution_is_merged_too() -> None:
    state, pairs = weights(), pairs_for("patch_embedding")
    weight = state["patch_embedding.weight"]
    down = pairs["patch_embedding.lora_A.weight"].view(2, *weight.shape[1:])
    up = pairs["patch_embedding.lora_B.weight"].view(-1, 2, 1, 1, 1)
    lora = pair_up({"patch_embedding.lora_down.weight": down, "patch_embedding.lora_up.weight": up})
    added = (up.flatten(1) @ down.flatten(1)).view_as(weight)
    torch.testing.assert_close(merge_lora(state, lora)["patch_embedding.weight"], weight + added)


LAYER = "diffusion_model.blocks.0.self_attn.q"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (f"{LAYER}.lora_magnitude_vector", "DoRA"),
        (f"{LAYER}.lora_magnitude_vector.default.weight", "DoRA"),
        (f"{LAYER}.dora_scale", "DoRA"),
        (f"{LAYER}.lora_B.bias", "biases"),
        (f"{LAYER}.lora_B.default.bias", "biases"),
        (f"{LAYER}.lora_mid.weight", "LoCon"),
        (f"{LAYER}.hada_w1_a", "LoHa"),
        ("lycoris_blocks_0_self_attn_q.lokr_w1", "LoKr"),
        (f"{LAYER}.oft_blocks", "OFT"),
        (f"{LAYER}.ia3_l", "IA"),
        (f"{LAYER}.vera_lambda_b", "VeRA"),
        (f"{LAYER}.a1.weight", "GLoRA"),
        ("blocks.0.attn1.processor.to_q_lora.down.weight", "attention processors"),
    ],
)
@pytest.mark.parametrize("has_pairs", [True, False])
def test_an_adapter_that_is_no_plain_lora_is_named(
    key: str, kind: str, has_pairs: bool, tmp_path: Path
) -> None:
    pairs = {f"{LAYER}.lora_A.weight": torch.ones(2, 24), f"{LAYER}.lora_B.weight": torch.ones(24, 2)}
    save_file((pairs if has_pairs else {}) | {key: torch.ones(24)}, tmp_path / "w.safetensors")
    with pytest.raises(
        CheckpointError, match=rf"belongs to .*{kind}.*which is not read. Merge it into the base"
    ):
        read_lora(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        {**{f"transformer.{n}": t for n, t in pairs_for("proj_out").items()},
         **{f"transformer_2.{n}": t for n, t in pairs_for("proj_out").items()}},
        {n.replace(".weight", f".{adapter}.weight"): t
         for n, t in pairs_for("proj_out").items() for adapter in ("one", "two")},
        {"style": pairs_for("proj_out"), "motion": pairs_for("proj_out")},
    ],
)  # fmt: skip
def test_several_loras_in_one_file_are_refused(content: dict[str, object], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"several LoRAs.*Give a file of one"):
        read_lora(tmp_path / "w.pt")


def test_layers_of_another_model_are_named() -> None:
    tensors = {f"lora_unet_vace_blocks_0_ffn_0{half}": torch.ones(2, 2) for half in DOWN_UP}
    with pytest.raises(CheckpointError, match=r"changes .*vace.*which the model lacks"):
        merge_lora(weights(), pair_up(tensors))
