"""Counted sizes are those of the loaded model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from longlive import ModelBundle, Session, load_models
from longlive.models.tiny_vae import TinyVae
from longlive.runtime.footprint import cache_bytes, footprint_of
from longlive.weights.layout import write_json
from tests.support.tiny_model import write_tiny_model


def nbytes(module: nn.Module) -> int:
    return sum(weight.nbytes for weight in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_counted_as_they_will_lie_on_the_device(tiny_folder: Path, dtype: torch.dtype) -> None:
    models = load_models(tiny_folder, dtype=dtype)
    sizes = footprint_of(tiny_folder, models.config, dtype)
    assert sizes.blocks + sizes.rest == nbytes(models.transformer)
    linears = [module for module in models.transformer.blocks.modules() if isinstance(module, nn.Linear)]
    assert sizes.blocks == sum(linear.weight.nbytes for linear in linears)
    assert sizes.text == nbytes(models.text_encoder.model)
    assert sizes.text_block == nbytes(models.text_encoder.model.encoder.block[0])
    decoder = nbytes(models.vae)
    assert sizes.decoders == {"wan": decoder}


def test_what_a_stream_remembers_is_counted(tiny_folder: Path, tiny_models: ModelBundle) -> None:
    sizes = footprint_of(tiny_folder, tiny_models.config, torch.float32)
    with Session(tiny_models, "a red ball") as session:
        session.next_chunk()
        remembered = sum(part.nbytes for part in session._decoder.features)
        prompt = session._generator.latents.prompt
        assert prompt is not None
        held = sum(part.nbytes for part in (*prompt.context.keys, *prompt.context.values))
        assert sizes.cache == session._generator.latents.cache.num_bytes + held
    assert sizes.decoder_state == {"wan": remembered}


def test_of_several_sizes_the_largest_counts(tiny_folder: Path, tiny_models: ModelBundle) -> None:
    square = replace(tiny_models.config, height=48, width=48)
    small, wide = replace(square, sizes=((80, 32),)), replace(square, height=32, width=80)
    expected = footprint_of(tiny_folder, wide, torch.float32)
    assert footprint_of(tiny_folder, small, torch.float32) == expected
    assert expected.cache > footprint_of(tiny_folder, square, torch.float32).cache


def test_a_tiny_vae_in_the_folder_is_counted_too(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    tiny = TinyVae(latent_channels=4, widths=(8, 8, 8, 8))
    write_json(tmp_path / "tiny_vae/config.json", {"_class_name": "TinyVae"} | tiny.config)
    save_file(tiny.state_dict(), tmp_path / "tiny_vae/diffusion_pytorch_model.safetensors")
    config = load_models(tmp_path).config
    sizes = footprint_of(tmp_path, config, torch.float32)
    assert sizes.decoders["tiny"] == nbytes(tiny)
    assert sizes.decoder_state["tiny"] < sizes.decoder_state["wan"]
    assert sizes.decoder_work["tiny"] == 3 * 4 * 8 * config.height * config.width * 4


def test_half_the_numbers_take_half_the_cache(tiny_models: ModelBundle) -> None:
    assert cache_bytes(tiny_models.config, 4) == 2 * cache_bytes(tiny_models.config, 2)
