"""FLOPs of a training step, counted on fake tensors.

The real passes run on fake tensors of full size through models of one and of two blocks; the difference is
the cost of each further block.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.models.list_cache import ListCache
from longlive.models.transformer import CausalWanTransformer
from longlive.training.lora import add_lora
from longlive.training.recipe import LearnerOptions, RunOptions

PassFactory = Callable[[CausalWanTransformer], Callable[[], Tensor]]
"""A transformer -> a forward pass through it, ready to run."""


class PlannedModel(NamedTuple):
    """The shape of a model, and how it is trained; ``options`` is None for a frozen model."""

    config: TransformerConfig
    options: LearnerOptions | None


def clip_pass(config: ModelConfig, num_latents: int) -> PassFactory:
    """A bidirectional pass over a clip of ``num_latents`` latents, including its prompt's keys and values."""

    def prepare(transformer: CausalWanTransformer) -> Callable[[], Tensor]:
        tokens = _empty(transformer, config.text_len, transformer.config.text_dim)
        latents, timestep = _empty(transformer, num_latents, *config.latent_shape), torch.zeros(1, 1)
        return lambda: transformer(latents, timestep, transformer.read_prompt(tokens))

    return prepare


def chunk_pass(config: ModelConfig, stream: StreamConfig, *, only_remembers: bool = False) -> PassFactory:
    """A causal pass over a chunk with a full window in the cache.

    Args:
        only_remembers: the clean pass that only writes keys and values to the cache.
    """

    def prepare(transformer: CausalWanTransformer) -> Callable[[], Tensor]:
        past = (stream.window if stream.window > 0 else config.window) - stream.chunk
        cache = ListCache(transformer.config, stream, config.tokens_per_latent)
        with torch.no_grad():
            prompt = transformer.read_prompt(
                _empty(transformer, config.text_len, transformer.config.text_dim)
            )
            transformer.remember(_empty(transformer, past, *config.latent_shape), 0.0, prompt, cache)
        chunk = _empty(transformer, stream.chunk, *config.latent_shape)
        if only_remembers:
            return lambda: transformer.remember(chunk, 0.0, prompt, cache, start=past)[0]
        return lambda: transformer(chunk, 0.0, prompt, cache, start=past)

    return prepare


def count_flops(prepare: PassFactory, model: PlannedModel, run: RunOptions) -> int:
    """FLOPs of a pass of one sample, and of its backward pass (and recomputation) if the model is trained."""

    def measure(transformer: CausalWanTransformer, forward: Callable[[], Tensor]) -> int:
        transformer.checkpointing = run.checkpointing
        with FlopCounterMode(display=False) as counter:
            output = forward()
            if model.options is not None:
                output.float().sum().backward()
        return int(counter.get_total_flops())

    one, two = measure_blocks(prepare, model, run, measure)
    return one + (model.config.num_layers - 1) * (two - one)


def measure_blocks(
    prepare: PassFactory,
    model: PlannedModel,
    run: RunOptions,
    measure: Callable[[CausalWanTransformer, Callable[[], Tensor]], int],
    depths: tuple[int, int] = (1, 2),
) -> tuple[int, int]:
    """What ``measure`` returns on fake tensors for models of ``depths`` blocks.

    Args:
        measure: is given the transformer and a forward pass, which it runs.
    """
    dtype, measured = getattr(torch, run.precision), []
    for num_layers in depths:
        transformer = meta_transformer(
            model._replace(config=dataclasses.replace(model.config, num_layers=num_layers))
        )
        with (
            FakeTensorMode(allow_non_fake_inputs=True),
            sdpa_kernel(SDPBackend.MATH),
            torch.set_grad_enabled(model.options is not None),
        ):
            _use_fake_parameters(transformer, dtype)
            measured.append(measure(transformer, prepare(transformer)))
    return measured[0], measured[1]


def meta_transformer(model: PlannedModel) -> CausalWanTransformer:
    """The model on the meta device, with its LoRA if any; only trained parameters require gradients."""
    options = model.options
    with torch.device("meta"):
        transformer = CausalWanTransformer(model.config)
    transformer.requires_grad_(options is not None)
    if options is not None and options.lora_rank:
        add_lora(transformer, rank=options.lora_rank, alpha=options.alpha)
    return transformer


def _empty(transformer: CausalWanTransformer, *shape: int) -> Tensor:
    return torch.empty(1, *shape, dtype=transformer.proj_out.weight.dtype)


def _use_fake_parameters(transformer: CausalWanTransformer, dtype: torch.dtype) -> None:
    """Replace parameters on the meta device, which autocast does not support, by fake ones on a CPU."""
    for module in transformer.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            fake = torch.empty(value.shape, dtype=dtype)
            setattr(module, name, torch.nn.Parameter(fake, value.requires_grad))
