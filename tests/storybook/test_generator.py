"""Training runs the same passes as streaming, and its pieces fit together."""

from dataclasses import replace

import numpy as np
import torch

from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.sampling import recache, remember_chunk
from longlive.models.kv_cache import KVCache
from longlive.storybook import generator
from longlive.storybook.codec import LATENT_CHANNELS
from longlive.storybook.dataset import NUM_CHUNKS, Clips, random_turn
from longlive.storybook.generator import (
    Storyteller,
    draw_batch,
    random_timesteps,
    story_loss,
    storybook_config,
)
from longlive.storybook.vocabulary import TEXT_LEN, new_tokenizer
from longlive.storybook.world.drawing import HEIGHT, WIDTH, random_scene


def some_clips(turn: int, count: int = 3) -> Clips:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(count)]
    stories = [(scene, random_turn(scene, rng)) if turn else (scene,) for scene in scenes]
    torch.manual_seed(0)
    latents = torch.randn(count, 3 * NUM_CHUNKS, LATENT_CHANNELS, HEIGHT // 8, WIDTH // 8).half()
    return Clips(turn, latents, torch.rand(count, 3 * NUM_CHUNKS, HEIGHT // 8, WIDTH // 8) < 0.2, stories)


def a_batch(turn: int) -> generator.Batch:
    scale = (torch.zeros(LATENT_CHANNELS, 1, 1), torch.ones(LATENT_CHANNELS, 1, 1))
    return draw_batch(some_clips(turn), 2, scale, np.random.default_rng(1))


def small_storyteller() -> tuple[Storyteller, object]:
    torch.manual_seed(0)
    tokenizer = new_tokenizer(num_captions=300, vocab_size=250)
    config = storybook_config()
    small = replace(config, transformer=replace(config.transformer, num_layers=2, ffn_dim=64))
    model = Storyteller(small, len(tokenizer))
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    return model, tokenizer


def test_every_parameter_learns_from_a_story_that_turns():
    model, tokenizer = small_storyteller()
    loss = story_loss(model, tokenizer, a_batch(5), storybook_config(), torch.Generator().manual_seed(0))
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_training_pass_predicts_what_streaming_would(monkeypatch):
    """The last chunk's prediction through the training cache equals that through the ring cache."""
    model, tokenizer = small_storyteller()
    config, batch = storybook_config(), a_batch(5)
    monkeypatch.setattr(generator, "CONTEXT_NOISE", 0.0)
    seen = []
    forward = model.transformer.forward

    def spy(latents, timestep, prompt, cache, *, start):
        output = forward(latents, timestep, prompt, cache, start=start)
        seen.append((latents, timestep, output))
        return output

    monkeypatch.setattr(model.transformer, "forward", spy)
    with torch.no_grad():
        story_loss(model, tokenizer, batch, config, torch.Generator().manual_seed(0))
        noisy, timestep, expected = seen[-1]
        cache = KVCache(config.transformer, StreamConfig.of(config), config.tokens_per_latent, batch=2)
        prompt = model.read(tokenizer, batch.captions)
        for chunk in range(NUM_CHUNKS - 1):
            if chunk == batch.turn:
                prompt = model.read(tokenizer, batch.turned_captions)
                recache(model.transformer, batch.latents[:, : 3 * chunk], prompt, cache, start=3 * chunk)
            clean = batch.latents[:, 3 * chunk : 3 * chunk + 3]
            remember_chunk(model.transformer, clean, prompt, cache, start=3 * chunk)
        output = forward(noisy, timestep, prompt, cache, start=3 * (NUM_CHUNKS - 1))
    assert torch.allclose(output, expected, atol=2e-5)


def test_timesteps_are_mostly_those_of_the_sampler():
    timetable = FlowSchedule.of(storybook_config())
    drawn = random_timesteps(timetable, 4000, torch.Generator().manual_seed(0))
    share = torch.isin(drawn, torch.tensor(timetable.warped_steps)).float().mean()
    assert 0.7 < share < 0.85 and drawn.max() <= 1000 and drawn.min() > 0


def test_the_tokenizer_reads_any_word_and_small_and_capital_letters_alike():
    tokenizer = new_tokenizer(num_captions=300, vocab_size=250)
    one, two = (tokenizer(text)["input_ids"] for text in ("A Red Ball", "a red ball"))
    assert one == two
    unknown = tokenizer("xylophone zeppelin", padding="max_length", max_length=TEXT_LEN, truncation=True)
    assert tokenizer.unk_token_id not in unknown["input_ids"] and len(unknown["input_ids"]) == TEXT_LEN


def test_a_turn_is_always_to_something_else_that_training_may_see():
    rng = np.random.default_rng(0)
    for _ in range(100):
        scene = random_scene(rng)
        assert random_turn(scene, rng).attributes != scene.attributes
