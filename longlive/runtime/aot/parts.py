"""Runs the parts of all blocks by libraries that were compiled once, with each block's weights as inputs.

A library is loaded at its first call, so a process may apply a package before it has a GPU: those that are
forked from it load the libraries for themselves.
"""

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longlive.models.transformer import Block, CausalWanTransformer

logger = logging.getLogger(__name__)

PROJECT_QKV, POST_ATTENTION = "project_qkv", "post_attention"
FACTS = "facts.json"
MAX_TOKENS, MAX_TEXT_TOKENS = 1 << 17, 1 << 13
"""The largest sizes that a library takes; the smallest is 2."""


def apply_package(transformer: CausalWanTransformer, folder: Path) -> None:
    """Let the libraries of a package run a transformer's blocks; results stay the same within rounding.

    Calls that they cannot take run as before: several videos at once, latents with timesteps of their own,
    gradients. So do all if a library cannot be loaded, or is for blocks unlike these, which the log says.

    Args:
        transformer: like the one that the package was made for. Moving or casting it later undoes this;
            weights may be replaced in place alone.
        folder: of the package, as ``package.package_folder`` gives it.
    """
    project_qkv, post_attention = Library(folder / PROJECT_QKV), Library(folder / POST_ATTENTION)
    for block in transformer.blocks:
        # Instance attributes go before the class's methods.
        vars(block)[PROJECT_QKV] = CompiledProjectQkv(block, project_qkv)
        vars(block)[POST_ATTENTION] = CompiledPostAttention(block, post_attention)


def named_weights(block: Block) -> dict[str, Tensor]:
    """All that a library may read of a block, in the order in which it takes them."""
    return {**dict(block.named_parameters()), **dict(block.named_buffers())}


def weight_facts(block: Block) -> list[list[Any]]:
    """Name, dtype, shape and strides of each of the weights, as JSON."""
    return [
        [name, str(tensor.dtype), list(tensor.shape), list(tensor.stride())]
        for name, tensor in named_weights(block).items()
    ]


class Library:
    """A part of a block in a folder: one shared library, and the GPU's kernels if it has some."""

    def __init__(self, folder: Path) -> None:
        """The library in ``folder``; nothing is read before the first call."""
        self.folder = folder
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {}
        self._runner: Any = None
        self._has_failed = False

    def serves(self, block: Block, device: torch.device) -> bool:
        """Whether it can be called with a block's weights, on their device; it is loaded if it is not yet."""
        with self._lock:
            if self._has_failed:
                return False
            try:
                if self._runner is None:
                    self._facts = json.loads((self.folder.parent / FACTS).read_text())
                    self._runner = self._open(device)
                if [self._facts["device"][0], self._facts["weights"]] != [device.type, weight_facts(block)]:
                    raise ValueError("it was compiled for other weights, or for another device")
            except Exception as error:  # torch raises whatever its loader meets
                self._has_failed = True
                logger.warning("%s cannot be used, and blocks run eagerly: %s", self.folder, error)
        return not self._has_failed

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs for inputs in the order in which it was compiled; it must be loaded."""
        outputs: list[Tensor] = self._runner.run(list(inputs))
        return outputs

    def _open(self, device: torch.device) -> Any:
        (library,) = self.folder.glob("*.so")
        if device.type == "cpu":
            return torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1)
        return torch._C._aoti.AOTIModelContainerRunnerCuda(str(library), 1, str(device), str(self.folder))


class _Signature(NamedTuple):
    """What a library was compiled for, as far as calls differ in it."""

    dtype: torch.dtype
    device: torch.device

    def accepts(self, x: Tensor, modulation: Tensor, text: Tensor | None = None) -> bool:
        is_one_video = len(x) == 1 and modulation.shape[:2] == (1, 1) and (text is None or len(text) == 1)
        num_text = 2 if text is None else text.shape[1]
        return (
            is_one_video
            and 2 <= x.shape[1] * x.shape[2] <= MAX_TOKENS
            and 2 <= num_text <= MAX_TEXT_TOKENS
            and (x.dtype, x.device) == self
            and not torch.is_grad_enabled()
        )


class _CompiledPart:
    """A method of a block, run by a library."""

    def __init__(self, block: Block, library: Library) -> None:
        self._block, self._library = block, library
        self._weights: list[Tensor] = []
        self._signature: _Signature | None = None
        self._is_served = False

    def _takes(self, x: Tensor, modulation: Tensor, text: Tensor | None = None) -> bool:
        if self._signature is None:
            # At the first call: a GPU that is lent has the weights only now.
            self._weights = [weight.detach() for weight in named_weights(self._block).values()]
            self._is_served = self._library.serves(self._block, self._weights[0].device)
            self._signature = _Signature(self._weights[0].dtype, self._weights[0].device)
        return self._is_served and self._signature.accepts(x, modulation, text)

    def _run(self, *inputs: Tensor) -> list[Tensor]:
        return self._library([*(tensor.contiguous() for tensor in inputs), *self._weights])


class CompiledProjectQkv(_CompiledPart):
    """``Block.project_qkv`` by a library."""

    def __call__(
        self, x: Tensor, modulation: Tensor, rotation: Tensor, key_rotation: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As the method."""
        if not self._takes(x, modulation):
            return Block.project_qkv(self._block, x, modulation, rotation, key_rotation)
        turned = _identity_like(rotation) if key_rotation is None else key_rotation
        queries, keys, values = self._run(_as_one_latent(x), modulation, rotation, turned)
        return queries, keys, values


class CompiledPostAttention(_CompiledPart):
    """``Block.post_attention`` by a library."""

    def __call__(
        self, x: Tensor, attended: Tensor, modulation: Tensor, text_keys: Tensor, text_values: Tensor
    ) -> Tensor:
        """As the method."""
        if not self._takes(x, modulation, text_keys):
            return Block.post_attention(self._block, x, attended, modulation, text_keys, text_values)
        (out,) = self._run(_as_one_latent(x), attended, modulation, text_keys, text_values)
        return out.view_as(x)


def _as_one_latent(x: Tensor) -> Tensor:
    """(1, F, T, dim) -> (1, 1, F * T, dim): with one modulation for all latents, tokens are just tokens."""
    return x.reshape(1, 1, -1, x.shape[-1])


def _identity_like(rotation: Tensor) -> Tensor:
    """The rotation that leaves keys as they are, bit for bit."""
    identity = torch.zeros_like(rotation)
    identity[..., 0] = 1.0
    return identity
