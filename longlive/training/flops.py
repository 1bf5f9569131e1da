"""FLOPs of a training step, counted on fake tensors."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.models.list_cache import ListCache
from longlive.models.transformer import CausalWanTransformer
from longlive.training.lora import add_lora
from longlive.training.recipe import LearnerOptions, Recipe

Prepare = Callable[[CausalWanTransformer], Callable[[], Tensor]]
"""A transformer -> a pass through it, ready to run."""


def _clip_pass(facts: ModelConfig, num_latents: int) -> Prepare:
    """A bidirectional pass over a clip, the reading of its prompt included."""

    def prepare(transformer: CausalWanTransformer) -> Callable[[], Tensor]:
        tokens = _empty(transformer, facts.text_len, transformer.config.text_dim)
        latents, timestep = _empty(transformer, num_latents, *facts.latent_shape), torch.zeros(1, 1)
        return lambda: transformer(latents, timestep, transformer.read_prompt(tokens))

    return prepare


def _chunk_pass(facts: ModelConfig, stream: StreamConfig, *, only_remembers: bool = False) -> Prepare:
    """A pass over a chunk with a full window behind it."""

    def prepare(transformer: CausalWanTransformer) -> Callable[[], Tensor]:
        past = (stream.window if stream.window > 0 else facts.window) - stream.chunk
        cache = ListCache(transformer.config, stream, facts.tokens_per_latent)
        with torch.no_grad():
            prompt = transformer.read_prompt(_empty(transformer, facts.text_len, transformer.config.text_dim))
            transformer.remember(_empty(transformer, past, *facts.latent_shape), 0.0, prompt, cache)
        chunk = _empty(transformer, stream.chunk, *facts.latent_shape)
        if only_remembers:
            return lambda: transformer.remember(chunk, 0.0, prompt, cache, start=past)[0]
        return lambda: transformer(chunk, 0.0, prompt, cache, start=past)

    return prepare


def _empty(transformer: CausalWanTransformer, *shape: int) -> Tensor:
    return torch.empty(1, *shape, dtype=transformer.proj_out.weight.dtype)


def _flops(prepare: Prepare, model: tuple[TransformerConfig, LearnerOptions | None], recipe: Recipe) -> int:
    """FLOPs of a pass, and of its backward pass if the model is trained; checkpointing adds a pass."""
    config, options = model

    def measure(transformer: CausalWanTransformer, run: Callable[[], Tensor]) -> int:
        transformer.checkpointing = recipe.run.checkpointing
        return _counted_flops(lambda: _with_backward(run, options))

    one, two = _counted(config, options, recipe, prepare, measure)
    return one + (config.num_layers - 1) * (two - one)


def _counted(
    config: TransformerConfig,
    options: LearnerOptions | None,
    recipe: Recipe,
    prepare: Prepare,
    measure: Callable[[CausalWanTransformer, Callable[[], Tensor]], int],
) -> tuple[int, int]:
    """What ``measure`` gives for a model of one block, and of two."""
    dtype, counted = getattr(torch, recipe.run.precision), []
    for num_layers in (1, 2):
        transformer = _on_meta(dataclasses.replace(config, num_layers=num_layers), options)
        with (
            FakeTensorMode(allow_non_fake_inputs=True),
            sdpa_kernel(SDPBackend.MATH),
            torch.set_grad_enabled(options is not None),
        ):
            _fake(transformer, dtype)
            counted.append(measure(transformer, prepare(transformer)))
    return counted[0], counted[1]


def _on_meta(config: TransformerConfig, options: LearnerOptions | None) -> CausalWanTransformer:
    """A model without memory, of which all is trained, a LoRA or nothing."""
    with torch.device("meta"):
        transformer = CausalWanTransformer(config)
    transformer.requires_grad_(options is not None)
    if options is not None and options.lora_rank:
        add_lora(transformer, rank=options.lora_rank, alpha=options.alpha)
    return transformer


def _fake(transformer: CausalWanTransformer, dtype: torch.dtype) -> None:
    """Fake parameters on a CPU in place of those on the meta device, which autocast does not know."""
    for module in transformer.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            fake = torch.empty(value.shape, dtype=dtype)
            setattr(module, name, torch.nn.Parameter(fake, value.requires_grad))


def _with_backward(run: Callable[[], Tensor], options: LearnerOptions | None) -> None:
    output = run()
    if options is not None:
        output.float().sum().backward()


def _counted_flops(run: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())
