"""A model with two sets of weights: both are counted, quantized, and run by replayed passes."""

import copy
import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from longlive import ModelBundle, Session, load_models
from longlive.runtime.cuda_graphs import EagerCapture, GraphReplayer
from longlive.runtime.footprint import footprint_of
from longlive.runtime.memory import Preset
from longlive.runtime.quantization import Int8Linear, weight_bytes
from longlive.runtime.startup import RuntimeOptions, accelerate
from tests.support.tiny_model import write_tiny_model


def latents(models: ModelBundle, num_chunks: int = 8) -> list[Tensor]:
    with Session(models, "a red ball", seed=1) as session:
        made = [session.next_latents().latents for _ in range(num_chunks)]
        session.set_prompt("a blue cube")
        return [*made, session.next_latents().latents]


def test_both_sets_are_counted(tiny_folder: Path, two_set_folder: Path, two_set_models: ModelBundle) -> None:
    one = footprint_of(tiny_folder, load_models(tiny_folder).config, torch.float32)
    two = footprint_of(two_set_folder, two_set_models.config, torch.float32)
    assert (two.blocks, two.rest) == (2 * one.blocks, 2 * one.rest)
    with Session(two_set_models, "a red ball") as session:
        session.next_latents()
        stream = session._generator.latents
        assert stream.prompt is not None
        prompts = (stream.prompt.denoising, stream.prompt.context)
        held = sum(part.nbytes for prompt in prompts for part in (*prompt.keys, *prompt.values))
        assert two.cache == stream.cache.num_bytes + held


def test_the_vae_that_encodes_again_is_counted(tiny_folder: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, window=12, overlap=3)
    sizes = [
        footprint_of(folder, load_models(folder).config, torch.float32) for folder in (tiny_folder, tmp_path)
    ]
    assert sizes[1].rest - sizes[0].rest == sizes[0].decoders["wan"]


def test_the_second_set_matters_and_is_used_for_the_clean_pass_alone(two_set_models: ModelBundle) -> None:
    whole = latents(two_set_models)
    without = latents(dataclasses.replace(two_set_models, context_transformer=None))
    assert torch.equal(whole[0], without[0]), "nothing is remembered before the first chunk"
    assert not torch.allclose(whole[1], without[1])
    second = two_set_models.context_transformer
    assert second is not None
    calls: list[int] = []
    handle = second.register_forward_hook(lambda *_: calls.append(1))
    latents(two_set_models, 2)
    handle.remove()
    assert not calls, "it never denoises"


def test_both_sets_are_quantized(two_set_folder: Path, two_set_models: ModelBundle) -> None:
    models = accelerate(
        load_models(two_set_folder), RuntimeOptions(device="cpu"), Preset("resident", "wan", "int8")
    )
    for transformer in models.transformers:
        assert any(isinstance(module, Int8Linear) for module in transformer.modules())
    assert len(models.transformers) == 2
    before = sum(map(weight_bytes, two_set_models.transformers))
    assert sum(map(weight_bytes, models.transformers)) < 0.6 * before
    assert all(part.isfinite().all() for part in latents(models, 2))


def test_replayed_passes_leave_the_same(two_set_models: ModelBundle) -> None:
    models = dataclasses.replace(
        two_set_models,
        transformer=copy.deepcopy(two_set_models.transformer),
        context_transformer=copy.deepcopy(two_set_models.context_transformer),
    )
    for transformer in models.transformers:
        transformer.pass_runner = GraphReplayer(EagerCapture)
    for mine, theirs in zip(latents(models, 14), latents(two_set_models, 14), strict=True):
        assert torch.equal(mine, theirs)
