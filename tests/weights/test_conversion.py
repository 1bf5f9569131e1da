"""Checkpoints of the whole family through one converter, in the memory of one tensor."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights import conversion
from longlive.weights.conversion import write_light_vae, write_text_encoder, write_tiny_vae, write_transformer
from longlive.weights.formats.key_mapping import transformer_from_released
from longlive.weights.formats.lora import LoraPair
from longlive.weights.formats.lora_files import LoraFile
from tests.support import published_weights as published
from tests.support.memory import mapped_file
from tests.support.published_weights import SHAPE
from tests.support.tiny_model import tiny_encoder_config

State = dict[str, Tensor]


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def wrapped(state: State) -> State:
    """As FSDP leaves it around each block."""
    return {name.replace(".self_attn", "._fsdp_wrapped_module.self_attn"): t for name, t in state.items()}


KINDS: dict[str, Callable[[State], Any]] = {
    "LongLive": lambda s: {"generator": prefixed(s, "model.")},
    "LongLive in training": lambda s: {
        "step": 3,
        "critic": {"x": torch.ones(1)},
        "generator": prefixed(s, "model."),
    },
    "Self-Forcing": lambda s: {"generator_ema": prefixed(wrapped(s), "model._fsdp_wrapped_module.")},
    "CausVid": lambda s: {"generator": prefixed(s, "_fsdp_wrapped_module.model.")},
    "compiled": lambda s: {"model": prefixed(s, "_orig_mod.")},
    "nested twice": lambda s: {"state_dict": {"generator": s}},
    "ComfyUI": lambda s: prefixed(s, "model.diffusion_model."),
    "plain Wan": lambda s: s,
    "diffusers": transformer_from_released,
}


@pytest.fixture(scope="module")
def expected() -> State:
    return transformer_from_released(published.released())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_every_kind_of_checkpoint_gives_the_same_model(
    kind: str, suffix: str, tmp_path: Path, expected: State
) -> None:
    state, file = KINDS[kind](published.released()), tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save(state, file)
    elif all(isinstance(value, Tensor) for value in state.values()):
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    else:
        return  # safetensors cannot nest
    write_transformer(tmp_path / "out.safetensors", SHAPE, file, dtype=torch.float32)
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())


def test_the_average_is_taken_and_named_unless_the_other_is_asked_for(
    tmp_path: Path, expected: State
) -> None:
    plain = published.released()
    both = {"generator_ema": plain, "generator": {k: v + 1 for k, v in plain.items()}}
    torch.save(both, tmp_path / "w.pt")
    lines: list[str] = []
    path, options = tmp_path / "out.safetensors", {"dtype": torch.float32, "progress": lines.append}
    write_transformer(path, SHAPE, tmp_path / "w.pt", **options)
    assert lines == ["w.pt: generator_ema is taken; it also holds generator (--weights-key takes another)"]
    assert torch.equal(load_file(path)["proj_out.bias"], expected["proj_out.bias"])
    write_transformer(path, SHAPE, tmp_path / "w.pt", weights_key="generator", **options)
    assert not torch.equal(
        load_file(tmp_path / "out.safetensors")["proj_out.bias"], expected["proj_out.bias"]
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    torch.save({"generator": prefixed(published.released(), "model.")}, tmp_path / "base.pt")
    torch.save({"generator_lora": published.lora()}, tmp_path / "lora.pt")
    return {"weights": tmp_path / "base.pt", "lora": tmp_path / "lora.pt"}


def how(files: dict[str, Path], **options: float) -> dict[str, Any]:
    """The files as ``write_transformer`` takes them."""
    return {"weights": files["weights"], "loras": [LoraFile(files["lora"], **options)]}


def test_a_lora_is_merged_in_float32_scaled_and_rounded_once(
    files: dict[str, Path], tmp_path: Path, expected: State
) -> None:
    write_transformer(tmp_path / "out.safetensors", SHAPE, **how(files, scale=0.5))
    written, lora = load_file(tmp_path / "out.safetensors"), torch.load(files["lora"])["generator_lora"]
    stem = "base_model.model.blocks.1.ffn.2.lora"
    update = 0.5 * lora[f"{stem}_B.weight"] @ lora[f"{stem}_A.weight"]
    name = "blocks.1.ffn.net.2.weight"
    assert torch.equal(written[name], (expected[name] + update).bfloat16())
    changed = {n for n, tensor in expected.items() if not torch.equal(written[n], tensor.bfloat16())}
    assert len(changed) == len(lora) / 2 == 10 * SHAPE.num_layers


@pytest.mark.parametrize("strengths", [(1.0, 1.0), (0.8, -0.5)])
def test_of_two_loras_both_changes_are_added_and_rounded_once(
    strengths: tuple[float, float], tmp_path: Path, expected: State
) -> None:
    torch.save({"generator": published.released()}, tmp_path / "base.pt")
    loras, lines = [], []
    for number, strength in enumerate(strengths):
        torch.manual_seed(number)
        torch.save(published.lora(), tmp_path / f"{number}.pt")
        loras.append(LoraFile(tmp_path / f"{number}.pt", strength, scale=0.5))
    out = tmp_path / "out.safetensors"
    write_transformer(out, SHAPE, tmp_path / "base.pt", loras, progress=lines.append)
    stem, name = "base_model.model.blocks.1.ffn.2.lora", "blocks.1.ffn.net.2.weight"
    merged = expected[name]
    for lora in loras:
        pairs = torch.load(lora.path)
        merged = torch.addmm(
            merged, pairs[f"{stem}_B.weight"], pairs[f"{stem}_A.weight"], alpha=lora.strength * 0.5
        )
    assert torch.equal(load_file(out)[name], merged.bfloat16())
    assert [line.split(":")[0] for line in lines] == [f"LoRA {lora}" for lora in loras], "in order"
    write_transformer(out, SHAPE, tmp_path / "base.pt", loras[::-1], dtype=torch.float32)
    torch.testing.assert_close(load_file(out)[name], merged)


def test_converting_holds_one_tensor_at_a_time(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spy on what is computed: nothing of an earlier tensor lives when the next is made."""
    alive: list[weakref.ref[Tensor]] = []
    most, merged = [0], conversion.merge_pair

    def spy(weight: Tensor, pair: LoraPair, *how: float | None) -> Tensor:
        assert {mapped_file(t) for t in (weight, pair.down, pair.up)} == {*files.values()}, (
            "read as it lies on the disk"
        )
        gc.collect()
        most[0] = max(most[0], sum(ref() is not None for ref in alive))
        result = merged(weight, pair, *how)
        alive.append(weakref.ref(result))
        return result

    monkeypatch.setattr(conversion, "merge_pair", spy)
    gc.freeze()  # what lives already is not searched again and again
    try:
        write_transformer(tmp_path / "out.safetensors", SHAPE, **how(files))
    finally:
        gc.unfreeze()
    assert len(alive) == 20
    assert most[0] <= 1


def spoil(path: Path, change: Callable[[State], object]) -> None:
    state = torch.load(path)
    change(next(iter(state.values())))
    torch.save(state, path)


@pytest.mark.parametrize(
    ("which", "change", "words"),
    [
        ("weights", lambda s: s.pop("model.head.head.bias"), r"base.pt does not fit.*missing: proj_out.bias"),
        ("weights", lambda s: s.update({"model.img_emb": torch.ones(1)}), "unexpected keys: img_emb"),
        (
            "weights",
            lambda s: s.update({"model.head.head.bias": torch.ones(5)}),
            r"base.pt: proj_out.bias has shape \(5,\).*makes it \(64,\)",
        ),
        ("weights", dict.clear, "holds no transformer of this family"),
        ("lora", lambda s: s.popitem(), "only one of A and B for blocks.1.ffn.net.2"),
        (
            "lora",
            lambda s: s.update({"base_model.model.blocks.0.ffn.2.lora_A.weight": torch.ones(4, 5)}),
            "the LoRA does not fit the shape of blocks.0.ffn.net.2.weight",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    files: dict[str, Path], tmp_path: Path, which: str, change: Callable[[State], object], words: str
) -> None:
    spoil(files[which], change)
    with pytest.raises(CheckpointError, match=words):
        write_transformer(tmp_path / "out.safetensors", SHAPE, **how(files))
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("fault", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_named(files: dict[str, Path], tmp_path: Path, fault: float) -> None:
    spoil(
        files["weights"], lambda state: state["model.head.head.bias"].index_fill_(0, torch.tensor(3), fault)
    )
    with pytest.raises(CheckpointError, match=r"base.pt, proj_out.bias: 1 of 64 numbers are NaN or infinite"):
        write_transformer(tmp_path / "out.safetensors", SHAPE, files["weights"])


def test_the_text_encoder_comes_from_wans_names_or_from_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = published.umt5()
    torch.save(state, tmp_path / "wan.pth")
    save_file(conversion.umt5_from_released(state), tmp_path / "theirs.safetensors")
    config = tiny_encoder_config().to_dict()
    digests = {
        write_text_encoder(tmp_path / "out.safetensors", config, tmp_path / name)
        for name in ("wan.pth", "theirs.safetensors")
    }
    assert len(digests) == 1
    written = load_file(tmp_path / "out.safetensors")
    assert written["shared.weight"].dtype == torch.bfloat16
    assert "encoder.embed_tokens.weight" not in written


def test_the_tiny_vae_leaves_its_encoder_behind(tmp_path: Path) -> None:
    state = published.taew2_1()
    torch.save(state, tmp_path / "taew2_1.pth")
    config = write_tiny_vae(tmp_path / "out.safetensors", tmp_path / "taew2_1.pth")
    written = load_file(tmp_path / "out.safetensors")
    assert len(written) == 64
    assert torch.equal(written["decoder.7.conv.weight"], state["decoder.7.conv.weight"].float())
    assert config["latent_channels"] == 16


@pytest.mark.parametrize("names", [published.wan_names, dict], ids=["Wan's names", "diffusers'"])
def test_the_light_vae_is_a_wan_vae_of_the_width_that_its_weights_have(
    names: Callable[[State], State], tmp_path: Path
) -> None:
    light = published.wan_vae(4)
    torch.save(names(light.state_dict()), tmp_path / "light.pth")
    full = dict(published.wan_vae(8).config)
    config = write_light_vae(tmp_path / "out.safetensors", tmp_path / "light.pth", full)
    assert config["base_dim"] == 4
    AutoencoderKLWan.from_config(config).load_state_dict(load_file(tmp_path / "out.safetensors"))


def test_light_vae_has_the_published_size() -> None:
    with torch.device("meta"):
        state = published.wan_vae(24).state_dict()
    assert (len(state), sum(tensor.numel() for tensor in state.values())) == (194, 8_035_003)


def test_a_file_that_is_no_vae_is_told(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="is no Wan VAE"):
        write_light_vae(tmp_path / "out.safetensors", tmp_path / "w.pth", {})
    with pytest.raises(CheckpointError, match=r"w.pth does not fit the model: missing: decoder.1.bias"):
        write_tiny_vae(tmp_path / "out.safetensors", tmp_path / "w.pth")
