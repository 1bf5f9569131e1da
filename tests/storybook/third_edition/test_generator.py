"""The one-pass training sees what streaming sees."""

from dataclasses import replace

import pytest
import torch

from longlive.config import ModelConfig, StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.sampling import recache, remember_chunk
from longlive.models.list_cache import ListCache
from longlive.storybook.generator import StorybookModel
from longlive.storybook.third_edition.generator import (
    CHUNK,
    LAYOUT_SHARES,
    WindowLayout,
    predict_windows,
    third_edition_config,
    window_loss,
)


def small_model() -> tuple[ModelConfig, StorybookModel]:
    torch.manual_seed(0)
    config = third_edition_config()
    config = replace(config, transformer=replace(config.transformer, num_layers=2, ffn_dim=64))
    model = StorybookModel(config, 50)
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    return config, model


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_one_masked_pass_predicts_what_the_cache_predicts(turn: int) -> None:
    config, model = small_model()
    layout = WindowLayout(False, turn)
    latents = torch.randn(2, 12, config.transformer.in_channels, 10, 16)
    noisy = torch.randn(2, CHUNK * len(layout.noisy), *latents.shape[2:])
    timesteps = torch.rand(2, len(layout.noisy)) * 1000
    with torch.no_grad():
        prompt = model.read_ids(torch.randint(3, 50, (2, 64)))
        predicted = predict_windows(model.transformer, latents[:, :9], noisy, timesteps, prompt, layout)
        cache = ListCache(config.transformer, StreamConfig.of(config), config.tokens_per_latent)
        done = layout.noisy[0]
        if done:
            before = latents[:, : CHUNK * done]
            remember_chunk(model.transformer, before, prompt, cache, start=0)
            recache(model.transformer, before, prompt, cache, start=CHUNK * done)
        for index, chunk in enumerate(layout.noisy):
            if chunk > done:
                now = latents[:, CHUNK * done : CHUNK * chunk]
                remember_chunk(model.transformer, now, prompt, cache, start=CHUNK * done)
                done = chunk
            part = slice(CHUNK * index, CHUNK * (index + 1))
            label = timesteps[:, index : index + 1]
            expected = model.transformer(noisy[:, part], label, prompt, cache, start=CHUNK * chunk)
            torch.testing.assert_close(predicted[:, part], expected, atol=2e-5, rtol=1e-4)


def test_every_parameter_learns_from_one_batch() -> None:
    config, model = small_model()
    latents, ids = torch.randn(2, 12, 48, 10, 16), torch.randint(3, 50, (2, 64))
    rng = torch.Generator().manual_seed(0)
    window_loss(model, latents, ids, WindowLayout(False, 2), FlowSchedule.of(config), rng).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_layouts_shares_are_a_distribution() -> None:
    assert sum(LAYOUT_SHARES.values()) == pytest.approx(1)
    assert {layout.turn for layout in LAYOUT_SHARES} == {0, 1, 2, 3}
