"""Compiles the parts of a block around its attention into libraries, and keeps them beside the Hub's cache.

Each part becomes one library for all layers, all numbers of tokens and all sizes: torch.export traces it with
the block's weights among its inputs, and AOTInductor compiles it. ``spaces.aoti_compile`` does the same with
weights as constants of the library, which one library for all layers would have to be given at each call; and
it cannot be imported where torch has no CUDA.
"""

import dataclasses
import hashlib
import inspect
import json
import logging
import platform
import shutil
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.func import functional_call

from longlive.errors import ConfigError
from longlive.models import attention, rope, transformer
from longlive.models.attention import Attention, RmsNorm
from longlive.models.transformer import Block, CausalWanTransformer, FeedForward, GeluProjection
from longlive.runtime.aot import parts
from longlive.runtime.aot.parts import (
    FACTS,
    MAX_TEXT_TOKENS,
    MAX_TOKENS,
    POST_ATTENTION,
    PROJECT_QKV,
    named_weights,
)
from longlive.weights.assembly import cache_folder

logger = logging.getLogger(__name__)

EXAMPLE_TOKENS, EXAMPLE_TEXT_TOKENS = 768, 512
"""What is traced; the numbers that are run are others."""
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""How far results may be from those of the method, by the norm of the differences to that of the results."""

_PT_GNU_STACK, _PF_X = 0x6474E551, 1
_PLAIN = {
    *(Block, Attention, RmsNorm, FeedForward, GeluProjection),
    *(nn.Sequential, nn.Linear, nn.LayerNorm, nn.Identity),
}


def package_folder(transformer: CausalWanTransformer) -> Path:
    """Where the package for a transformer is, or would be: its name is a digest of all that it depends on.

    Raises:
        ConfigError: if its blocks cannot be compiled ahead of time.
    """
    facts = json.dumps(_facts(transformer), sort_keys=True)
    return cache_folder() / "aot" / hashlib.sha256(facts.encode()).hexdigest()[:16]


def find_or_compile(transformer: CausalWanTransformer) -> Path:
    """The folder of the package for a transformer, which is compiled if there is none yet.

    Raises:
        ConfigError: as ``package_folder`` and ``compile_package``.
    """
    folder = package_folder(transformer)
    if not folder.is_dir():
        compile_package(transformer, folder)
    return folder


@torch.no_grad()
def compile_package(transformer: CausalWanTransformer, folder: Path) -> None:
    """Compile the parts of a transformer's blocks, compare them with the methods, leave them in ``folder``.

    It takes a minute or more, a C++ compiler, and the device that the package is for.

    Args:
        transformer: on its device and in its dtype, fused if it is to be.
        folder: to make, as ``package_folder`` gives it.

    Raises:
        ConfigError: if that is not possible here, or if a result is not the method's.
    """
    started = time.perf_counter()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        for name in (PROJECT_QKV, POST_ATTENTION):
            _compile_part(transformer.blocks[0], name, temporary / name)
        (temporary / FACTS).write_text(json.dumps(_facts(transformer), indent=1))
        _compare(transformer, temporary)
        _publish(temporary, folder)
    except ConfigError:
        raise
    except Exception as error:  # the compiler raises whatever it meets
        rule = f"compiling ahead of time failed here ({type(error).__name__}: {str(error).strip()[:300]})"
        raise ConfigError("compile", "aot", rule, "Install a C++ compiler (g++), or use 'off'.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logger.info("blocks compiled ahead of time in %.0f s: %s", time.perf_counter() - started, folder)


def _publish(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # it is if another process was faster
            raise


def _compile_part(block: Block, name: str, folder: Path) -> None:
    program = _export(block, name)
    arguments, keywords = program.example_inputs
    options = {"aot_inductor.package": True}
    files: Any = torch._inductor.aot_compile(program.module(), arguments, keywords, options=options)
    folder.mkdir()
    for file in files:
        if isinstance(file, str) and not file.endswith(".cpp"):  # the library, and what it loads
            copy = Path(shutil.copy(file, folder))
            if copy.suffix == ".so":
                forbid_executable_stack(copy)


def _export(block: Block, name: str) -> ExportedProgram:
    """A method of a block as a function of its inputs and of the block's weights."""
    weights = {weight: tensor.detach() for weight, tensor in named_weights(block).items()}
    tokens, text = Dim("tokens", min=2, max=MAX_TOKENS), Dim("text", min=2, max=MAX_TEXT_TOKENS)
    inputs = _example_inputs(block, name, EXAMPLE_TOKENS, EXAMPLE_TEXT_TOKENS)
    sizes: dict[str, tuple[Any, ...]] = {
        PROJECT_QKV: ({2: tokens}, None, {0: tokens}, {0: tokens}),
        POST_ATTENTION: ({2: tokens}, {1: tokens}, None, {1: text}, {1: text}),
    }
    program = torch.export.export(
        _Stateless(block, name, list(weights)),
        (inputs, tuple(weights.values())),
        dynamic_shapes=(sizes[name], (None,) * len(weights)),
    )
    if program.state_dict or program.constants:
        kept = [*program.state_dict, *program.constants]
        raise RuntimeError(f"{kept} would be the same in all layers")
    return program


class _Stateless(nn.Module):
    """A block's method, called with weights that replace the block's."""

    def __init__(self, block: Block, name: str, weights: list[str]) -> None:
        super().__init__()
        self._call = (_Method(block, name),)  # in a tuple, so that it is no part of this module
        self._names = [f"block.{weight}" for weight in weights]

    def forward(self, inputs: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> Any:
        return functional_call(self._call[0], dict(zip(self._names, weights, strict=True)), inputs)


class _Method(nn.Module):
    def __init__(self, block: Block, name: str) -> None:
        super().__init__()
        self.block, self._method = block, getattr(Block, name)

    def forward(self, *inputs: Tensor) -> Any:
        return self._method(self.block, *inputs)


def _example_inputs(block: Block, name: str, num_tokens: int, num_text: int) -> tuple[Tensor, ...]:
    """Random inputs of a method, for ``num_tokens`` tokens in one latent."""
    weight = block.attn1.norm_q.weight
    random = torch.Generator().manual_seed(0)
    dim, heads = len(weight), block.attn1.num_heads

    def normal(*shape: int, dtype: torch.dtype = weight.dtype) -> Tensor:
        return torch.randn(shape, generator=random).to(weight.device, dtype)

    x, modulation = normal(1, 1, num_tokens, dim), normal(1, 1, 6, 1, dim)
    if name == PROJECT_QKV:
        shape = num_tokens, 1, dim // heads // 2, 2
        return x, modulation, normal(*shape, dtype=torch.float32), normal(*shape, dtype=torch.float32)
    text = 1, num_text, heads, dim // heads
    return x, normal(1, num_tokens, dim), modulation, normal(*text), normal(*text)


def _compare(transformer: CausalWanTransformer, folder: Path) -> None:
    """Raise ConfigError if a part of the first or the last block does not give what its method gives."""
    for block in (transformer.blocks[0], transformer.blocks[-1]):
        project_qkv = parts.CompiledProjectQkv(block, parts.Library(folder / PROJECT_QKV))
        post_attention = parts.CompiledPostAttention(block, parts.Library(folder / POST_ATTENTION))
        inputs = _example_inputs(block, PROJECT_QKV, 48, 16)
        for made, expected in zip(project_qkv(*inputs), Block.project_qkv(block, *inputs), strict=True):
            _check_close(PROJECT_QKV, made, expected)
        inputs = _example_inputs(block, POST_ATTENTION, 48, 16)
        _check_close(POST_ATTENTION, post_attention(*inputs), Block.post_attention(block, *inputs))


def _check_close(name: str, made: Tensor, expected: Tensor) -> None:
    error = float((made.double() - expected.double()).norm() / expected.double().norm())
    if not error <= TOLERANCE[expected.dtype]:
        rule = f"{name} compiled ahead of time is {error:.1e} off, more than rounding explains"
        raise ConfigError("compile", "aot", rule, "Use 'off', and report it.")


def _facts(model: CausalWanTransformer) -> dict[str, Any]:
    """All that a package depends on, as JSON."""
    first, *others = (_weight_facts(block) for block in model.blocks)
    if any(other != first for other in others):
        rule = "the blocks' weights differ in shape or dtype, and one library must serve all"
        raise ConfigError("compile", "aot", rule, "Use 'default' or 'off'.")
    device = model.proj_out.weight.device
    sources = attention, rope, transformer, parts, sys.modules[__name__]
    return {
        "torch": torch.__version__,
        "processor": [platform.machine(), torch.backends.cpu.get_cpu_capability()],
        "device": _device_facts(device),
        "source": hashlib.sha256("".join(map(inspect.getsource, sources)).encode()).hexdigest(),
        "config": dataclasses.asdict(model.config),
        "weights": first,
    }


def _device_facts(device: torch.device) -> list[Any]:
    if device.type != "cuda":
        return [device.type, torch.get_num_threads()]
    return [device.type, torch.cuda.get_device_name(device), *torch.cuda.get_device_capability(device)]


def _weight_facts(block: Block) -> list[list[Any]]:
    unknown = {type(module) for module in block.modules()} - _PLAIN
    if unknown:
        names = ", ".join(sorted(kind.__name__ for kind in unknown))
        rule = f"layers of type {names} cannot be compiled ahead of time"
        raise ConfigError("compile", "aot", rule, "Use --quantize off, or --compile default or off.")
    return parts.weight_facts(block)


def forbid_executable_stack(library: Path) -> None:
    """Clear the flag by which a 64-bit ELF library asks for an executable stack.

    AOTInductor's have it though they need none. glibc 2.41 and hardened systems refuse to load them then, and
    ``spaces`` clears it too.
    """
    with library.open("r+b") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            raise ValueError(f"{library} is no 64-bit ELF file")
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        for place in range(offset, offset + size * count, size):
            file.seek(place)
            kind, flags = struct.unpack("<II", file.read(8))
            if kind == _PT_GNU_STACK:
                file.seek(place + 4)
                file.write(struct.pack("<I", flags & ~_PF_X))
