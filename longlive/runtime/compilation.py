"""Optimizes a loaded transformer for streaming: attention, fused weights, compiler and CUDA graphs."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, get_args

import torch

from longlive.config import CompileMode, ModelConfig, StreamConfig
from longlive.errors import ConfigError
from longlive.generation.lookahead import run_in_pipeline_thread
from longlive.generation.sampling import recache
from longlive.models.attention import PromptKV
from longlive.models.kv_cache import KVCache
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.aot.package import find_or_compile
from longlive.runtime.aot.parts import apply_package
from longlive.runtime.attention_backends import AUTO, choose_backend
from longlive.runtime.cuda_graphs import CudaGraphCapture, EagerCapture, GraphReplayer

logger = logging.getLogger(__name__)

MODES: tuple[CompileMode, ...] = get_args(CompileMode)


def optimize_for_inference(
    transformer: CausalWanTransformer,
    *,
    compile_mode: CompileMode = "off",
    attention: str = AUTO,
    fuse: bool = True,
    compiler: str | Callable[..., Any] = "auto",
) -> None:
    """Prepare a transformer for streaming; its results stay the same within rounding. Not for training.

    Args:
        transformer: on its device and in its dtype; moving or casting it later undoes the fusing.
        compile_mode: ``off`` runs kernel by kernel. ``default`` fuses the small steps of a block: on a GPU by
            the Triton kernels of fused_blocks.py; elsewhere, and for products that these cannot take, by the
            compiler, which makes the two parts of a block around its attention, once for all blocks and for
            each number of latents (3 in a chunk, up to the window's at a prompt switch). ``graphs`` also
            captures whole passes as CUDA graphs. ``aot`` compiles the two parts ahead of time, into files
            that later starts and forked processes load; see aot/package.py.
        attention: as for ``choose_backend``.
        fuse: queries, keys and values by one product; products in 8 bits stay apart.
        compiler: a backend of torch.compile, which is then used on a GPU too; ``auto`` chooses as above.

    Raises:
        ConfigError: for an unknown mode, an attention that is not available, or ``aot`` where that fails.
    """
    if compile_mode not in MODES:
        raise ConfigError("compile", compile_mode, f"it must be one of {MODES}", "Use 'off'.")
    weight = transformer.proj_out.weight
    transformer.backend = choose_backend(weight.device, weight.dtype, attention)
    if fuse:
        transformer.fuse()
    if compile_mode == "aot":
        apply_package(transformer, find_or_compile(transformer))
    elif compile_mode != "off" and not _fuse_blocks(transformer, compiler):
        _compile_blocks(transformer, compiler)
    if compile_mode == "graphs":
        transformer.pass_runner = GraphReplayer(CudaGraphCapture if weight.is_cuda else EagerCapture)
    logger.info("transformer: fused %s, compile %s", fuse, compile_mode)


@torch.no_grad()
def warm_up(
    transformer: CausalWanTransformer,
    config: ModelConfig,
    stream: StreamConfig,
    *,
    writer: CausalWanTransformer | None = None,
) -> Iterator[str]:
    """Run a pass of each shape that a stream can have, so that no viewer waits for the compiler.

    Yields a progress line before each of the window's lengths, prompt switch included.

    Args:
        transformer, config, stream: what is run.
        writer: runs the clean passes, if it is another set of weights.
    """
    both = transformer, writer or transformer
    weight = transformer.proj_out.weight
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    cache = KVCache(config.transformer, stream, config.tokens_per_latent, **place)
    tokens = torch.zeros(1, config.text_len, config.transformer.text_dim, **place)
    prompts = both[0].read_prompt(tokens), both[1].read_prompt(tokens)
    length = config.window if stream.window == -1 else stream.window
    lengths = range(0, length + stream.chunk, stream.chunk)
    for number, start in enumerate(lengths, start=1):
        yield f"warming up: pass {number} of {len(lengths)}"
        passes = partial(_warm_up_length, both, config, stream, prompts, cache, start)
        # On a GPU by the thread that the first stream will take: libraries cache their plans per thread.
        run_in_pipeline_thread(passes) if weight.is_cuda else passes()


@torch.no_grad()
def _warm_up_length(
    transformers: tuple[CausalWanTransformer, CausalWanTransformer],
    config: ModelConfig,
    stream: StreamConfig,
    prompts: tuple[PromptKV, PromptKV],
    cache: KVCache,
    start: int,
) -> None:
    """Run the passes of a chunk at ``start``, and of the recache behind it."""
    (transformer, writer), (prompt, context_prompt) = transformers, prompts
    place: dict[str, Any] = {
        "device": transformer.proj_out.weight.device,
        "dtype": transformer.proj_out.weight.dtype,
    }
    latents = torch.zeros(1, stream.chunk, *config.latent_shape, **place)
    transformer(latents, 1000.0, prompt, cache, start=start)
    writer.remember(latents, stream.context_noise, context_prompt, cache, start=start)
    window = torch.zeros(1, cache.num_remembered, *config.latent_shape, **place)
    recache(writer, window, context_prompt, cache, start=start + stream.chunk)


def _fuse_blocks(transformer: CausalWanTransformer, compiler: str | Callable[..., Any]) -> bool:
    """Let the fused Triton kernels run the blocks if they can; return whether they do."""
    if compiler != "auto" or not transformer.proj_out.weight.is_cuda or find_spec("triton") is None:
        return False
    from longlive.runtime.fused_blocks import FusedBlocks  # needs Triton

    if FusedBlocks.can_run(transformer):
        transformer.fused = FusedBlocks(transformer)
    return transformer.fused is not None


def _compile_blocks(transformer: CausalWanTransformer, compiler: str | Callable[..., Any]) -> None:
    """The cache and the attention stay outside: they alone see how full the window is, and where the ring is.

    So one compiled block serves all layers, all warm-up lengths and the steady state.
    """
    backend = "inductor" if compiler == "auto" else compiler
    for block in transformer.blocks:
        for name in ("project_qkv", "post_attention"):
            compiled = torch.compile(getattr(block, name), backend=backend, dynamic=False)
            setattr(block, name, compiled)
