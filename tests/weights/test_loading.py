import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from longlive import ModelBundle, Session, load_models
from longlive.errors import CheckpointError, ConfigError
from longlive.models.tiny_vae import TinyVae
from tests.conftest import WORDS, write_tiny_model

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_model_comes_back_as_it_was_written(tiny_models: ModelBundle, tiny_folder: Path) -> None:
    config = tiny_models.config
    assert (config.name, config.height, config.width, config.text_len) == ("tiny", 32, 48, 12)
    assert (config.positions, config.transformer.prediction) == ("relative", "clean")
    assert (config.spatial_scale, config.temporal_scale, config.steps) == (8, 4, (1000, 750, 500, 250))
    assert tiny_models.card.words == WORDS
    assert tiny_models.card.stories[0].prompts[1] == (3.0, "a blue ball")
    stored = load_file(tiny_folder / TRANSFORMER)
    assert stored.keys() == tiny_models.transformer.state_dict().keys()
    assert all(torch.equal(stored[name], own) for name, own in tiny_models.transformer.state_dict().items())


def test_weights_are_read_only_and_in_evaluation_mode(tiny_models: ModelBundle) -> None:
    for module in (tiny_models.transformer, tiny_models.vae, tiny_models.text_encoder.model):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_tied_embedding_of_the_text_encoder_is_stored_once_and_tied_again(
    tiny_models: ModelBundle, tiny_folder: Path
) -> None:
    """transformers 5.0 to 5.2 left it uninitialised."""
    assert "encoder.embed_tokens.weight" not in load_file(tiny_folder / "text_encoder/model.safetensors")
    model = tiny_models.text_encoder.model
    assert model.encoder.embed_tokens.weight.data_ptr() == model.shared.weight.data_ptr()


def test_the_layout_is_that_of_diffusers(tiny_folder: Path) -> None:
    shape = json.loads((tiny_folder / "transformer/config.json").read_text())
    assert shape["_class_name"] == "CausalWanTransformer"
    assert shape["num_attention_heads"] == 2
    assert "prediction" not in shape, "diffusers has no such field; it stands in longlive.json"
    parts = json.loads((tiny_folder / "model_index.json").read_text())
    assert parts["vae"] == ["diffusers", "AutoencoderKLWan"]
    assert all((tiny_folder / part).is_dir() for part in parts if not part.startswith("_"))


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


def test_the_digest_follows_weights_and_facts_but_not_the_card(
    folder: Path, tiny_models: ModelBundle
) -> None:
    assert load_models(folder).digest == tiny_models.digest
    change(folder / "longlive.json", card={"about": "Something else."})
    assert load_models(folder).digest == tiny_models.digest
    change(folder / "longlive.json", shift=4.0)
    changed = load_models(folder).digest
    assert changed != tiny_models.digest
    weights = load_file(folder / TRANSFORMER)
    weights["proj_out.bias"] += 1
    save_file(weights, folder / TRANSFORMER)
    assert load_models(folder).digest not in (changed, tiny_models.digest)


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("longlive.json", {"format": 9}, r"format is 9, but this version reads format 1.*Fetch"),
        (
            "longlive.json",
            {"height": 40},
            r"longlive.json: height is 40, but it must be a multiple of 16.*Try 32",
        ),
        ("longlive.json", {"height": "64"}, r"longlive.json: height is '64', but it must be a whole number"),
        ("longlive.json", {"steps": 4}, r"longlive.json: a field has a value of the wrong type"),
        ("longlive.json", {"colour": "red"}, r"longlive.json has the unknown fields colour"),
        ("longlive.json", {"prediction": "noise"}, r"prediction is 'noise', but it must be one of"),
        ("longlive.json", {"card": {"words": 3}}, r"The card in longlive.json"),
        ("transformer/config.json", {"patch_size": [2, 2, 2]}, r"config.json: patch_size is \(2, 2, 2\)"),
        (
            "transformer/config.json",
            {"qk_norm": None},
            r"qk_norm is None, but it must be 'rms_norm_across_heads'",
        ),
        (
            "transformer/config.json",
            {"in_channels": 16},
            r"in_channels of the transformer is 16.*have 4 channels",
        ),
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
def test_a_config_that_does_not_fit_is_told_by_file_field_and_value(
    folder: Path, file: str, values: dict[str, Any], words: str
) -> None:
    change(folder / file, **values)
    with pytest.raises(CheckpointError, match=words):
        load_models(folder)


def test_a_missing_field_is_named(folder: Path) -> None:
    facts = json.loads((folder / "longlive.json").read_text())
    del facts["height"]
    (folder / "longlive.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"longlive.json lacks the fields height"):
        load_models(folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("file", "spoil", "words"),
    [
        ("longlive.json", Path.unlink, "longlive.json is missing"),
        ("longlive.json", cut, "longlive.json cannot be read"),
        ("longlive.json", lambda path: path.write_text("[]"), "longlive.json holds a list"),
        ("vae/config.json", Path.unlink, "config.json is missing"),
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


def test_a_decoder_that_is_not_known_or_not_there_is_told(folder: Path) -> None:
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


def test_a_loaded_model_does_not_change_with_its_file(folder: Path) -> None:
    """Weights are copied out of the mapped file, which training writes again."""
    loaded = load_models(folder).transformer.state_dict()
    before = {name: tensor.clone() for name, tensor in loaded.items()}
    path = folder / TRANSFORMER
    with path.open("r+b") as file:
        file.seek(-4000, 2)
        file.write(b"\0" * 4000)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in before.items())


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


def test_writing_over_a_model_replaces_it(folder: Path) -> None:
    write_tiny_model(folder, fps=8)
    assert load_models(folder).config.fps == 8
