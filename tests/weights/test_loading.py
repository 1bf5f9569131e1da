import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from longlive import ModelBundle, Session, load_models
from longlive.errors import CheckpointError, ConfigError
from longlive.models.tiny_vae import TinyVae
from tests.support.memory import mapped_file

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_weights_are_read_only_and_in_evaluation_mode(tiny_models: ModelBundle) -> None:
    for module in (tiny_models.transformer, tiny_models.vae, tiny_models.text_encoder.model):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_loading_draws_the_same_weights_in_another_dtype(tiny_folder: Path, tiny_models: ModelBundle) -> None:
    half = load_models(tiny_folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.digest == tiny_models.digest
    assert half.text_encoder.encode("a red ball").tokens.dtype == torch.bfloat16


def test_weights_split_into_several_files_are_joined(folder: Path, tiny_models: ModelBundle) -> None:
    path = folder / TRANSFORMER
    weights = load_file(path)
    names = sorted(weights)
    parts = {"part-1.safetensors": names[:10], "part-2.safetensors": names[10:]}
    for part, own in parts.items():
        save_file({name: weights[name] for name in own}, path.with_name(part))
    weight_map = {name: part for part, own in parts.items() for name in own}
    path.with_name(path.name + ".index.json").write_text(json.dumps({"weight_map": weight_map}))
    path.unlink()
    loaded = load_models(folder).transformer.state_dict()
    assert all(torch.equal(own, loaded[name]) for name, own in tiny_models.transformer.state_dict().items())


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("longlive.json", {"card": {"words": 3}}, r"The card in longlive.json"),
        (
            "text_encoder/config.json",
            {"d_model": 8},
            r"text_dim of the transformer is 16, but d_model.* is 8",
        ),
        ("transformer/config.json", {"num_layers": 3}, r"safetensors.*missing.*blocks.2.*"),
        ("transformer/config.json", {"num_layers": 1}, r"safetensors.*unexpected.*blocks.1.*"),
        (
            "transformer/config.json",
            {"ffn_dim": 64},
            r"ffn.net.0.proj.bias has shape \(48,\).*makes it \(64,\)",
        ),
        ("vae/config.json", {"dim_mult": "no"}, r"vae/config.json does not describe a Wan VAE"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_named(
    folder: Path, file: str, values: dict[str, Any], words: str
) -> None:
    change(folder / file, **values)
    with pytest.raises(CheckpointError, match=words):
        load_models(folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("file", "spoil", "words"),
    [
        ("longlive.json", Path.unlink, "longlive.json is missing"),
        (TRANSFORMER, Path.unlink, "safetensors is missing. Fetch"),
        (TRANSFORMER, cut, "safetensors is broken"),
        ("text_encoder/model.safetensors", cut, "safetensors is broken"),
        ("tokenizer/tokenizer.json", Path.unlink, "holds no readable tokenizer"),
        ("tokenizer/tokenizer.json", cut, "holds no readable tokenizer"),
    ],
)
def test_a_missing_or_broken_file_is_named(
    folder: Path, file: str, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(folder / file)
    with pytest.raises(CheckpointError, match=words):
        load_models(folder)


def test_an_unknown_or_missing_decoder_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"decoder is 'quick', but it must be one of wan, tiny, light"):
        load_models(folder, decoder="quick")
    with pytest.raises(CheckpointError, match=r"has no tiny decoder \(tiny_vae/\).*use the decoder wan"):
        load_models(folder, decoder="tiny")
    (folder / "tiny_vae").mkdir()
    (folder / "tiny_vae/config.json").write_text('{"widths": [4]}')
    with pytest.raises(CheckpointError, match=r"config.json does not describe a tiny VAE"):
        load_models(folder, decoder="tiny")


def test_a_decoder_that_fits_the_latents_makes_the_pictures_and_the_vae_stays(
    folder: Path, tiny_models: ModelBundle
) -> None:
    tiny = TinyVae(4, (8, 6, 4, 4))
    (folder / "tiny_vae").mkdir()
    (folder / "tiny_vae/config.json").write_text(json.dumps({"_class_name": "TinyVae"} | tiny.config))
    save_file(tiny.state_dict(), folder / "tiny_vae/diffusion_pytorch_model.safetensors")
    models = load_models(folder, decoder="tiny")
    assert (models.decoder_name, tiny_models.decoder_name) == ("tiny", "wan")
    assert models.digest == tiny_models.digest, "latents are the same whoever decodes them"
    assert isinstance(models.decoder, TinyVae)
    assert tiny_models.decoder is tiny_models.vae
    with Session(models, "a red ball", seed=1) as session:
        assert session.next_chunk().frames.shape == (9, 32, 48, 3)
    assert torch.equal(models.vae.post_quant_conv.weight, tiny_models.vae.post_quant_conv.weight)


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    path = folder / TRANSFORMER
    weights = load_file(path)
    weights["proj_out.bias"][2] = float("nan")
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"transformer/.*, proj_out.bias: 1 of 16 numbers are NaN"):
        load_models(folder)


def test_a_loaded_model_does_not_change_with_its_file(folder: Path) -> None:
    """Weights are copied out of the mapped file, which training writes again."""
    loaded = load_models(folder).transformer.state_dict()
    before = {name: tensor.clone() for name, tensor in loaded.items()}
    path = folder / TRANSFORMER
    with path.open("r+b") as file:
        file.seek(-4000, 2)
        file.write(b"\0" * 4000)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in before.items())


def test_a_text_encoder_stays_in_its_file_where_it_computes_as_it_is_stored(folder: Path) -> None:
    """What is mapped is no memory of the process: the system drops it when memory runs short."""
    path = folder / "text_encoder/model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path)
    models = load_models(folder)
    assert {mapped_file(weight) for weight in models.text_encoder.model.parameters()} == {path}
    assert not any(mapped_file(weight) for weight in models.transformer.parameters())


@pytest.mark.parametrize(
    ("stored", "loaded"), [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)]
)
def test_a_text_encoder_computes_in_bfloat16_if_it_is_stored_so_and_never_in_float16(
    folder: Path, stored: torch.dtype, loaded: torch.dtype
) -> None:
    path = folder / "text_encoder/model.safetensors"
    save_file({name: tensor.to(stored) for name, tensor in load_file(path).items()}, path)
    models = load_models(folder, dtype=torch.float32)
    assert models.text_encoder.encode("a red ball").tokens.dtype == loaded
    assert models.dtype == torch.float32
