"""8-bit products: the linear layers of the blocks, which are 41 % of a pass's work, in INT8 or FP8.

Weights are rounded once, one scale per output channel; inputs at each call. What conditions the blocks and
what leaves them (embedders, ``proj_out``) is small, and stays as it is. On a CPU, INT8 runs on torch's own
kernels; on a GPU, INT8 runs on torchao's, and FP8 on those of fp8.py.

Measured on one NVIDIA H200 (torch 2.11, 4680 rows, microseconds in bfloat16, FP8 by rows, INT8 without its
scales): 1536 -> 4608: 93, 56, 108; 1536 -> 8960: 171, 98, 199; 8960 -> 1536: 164, 96, 160; 1536 -> 1536: 34,
35, 39. So on Hopper INT8 gains memory and no speed, and FP8 is for the large products alone.
"""

import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from longlive.config import Quantization
from longlive.errors import ConfigError
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.fp8 import Fp8Linear

logger = logging.getLogger(__name__)

OFF = "off"
KINDS = get_args(Quantization)
# Compute capability that has products of 8-bit floats.
_FP8_CAPABILITY = (8, 9)


class Int8Linear(nn.Module):
    """A linear layer on a CPU with weights in 8 bits; inputs are rounded at each call."""

    def __init__(self, linear: nn.Linear) -> None:
        """The same layer as ``linear``, within rounding."""
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(1).clamp_min(1e-12) / 127
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "torch.quantize_per_tensor", UserWarning
            )  # to go after torch 2.13
            rounded = torch.quantize_per_channel(weight, scales.double(), zeros, axis=0, dtype=torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, linear.bias.detach().float())
        self.num_bytes = weight.numel() + 4 * (2 * len(scales))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        # Half the range of the inputs: processors without VNNI add pairs of products in 16 bits.
        return torch.ops.quantized.linear_dynamic(x.float().contiguous(), self.packed, True).type_as(x)


def quantize(transformer: CausalWanTransformer, kind: str) -> None:
    """Round the weights of the blocks' linear layers to 8 bits, in place; for inference alone.

    Args:
        transformer: on its device and in its dtype, not fused.
        kind: one of KINDS.

    Raises:
        ConfigError: if it is unknown, or not available on this device.
    """
    check_kind(kind, transformer.proj_out.weight.device)
    if kind == OFF:
        return
    if kind == "fp8":
        quantize_fp8(transformer)
    elif transformer.proj_out.weight.is_cuda:
        _quantize_by_torchao(transformer)
    else:
        for parent, name, linear in _linears(transformer):
            setattr(parent, name, Int8Linear(linear))
    logger.info("products of the blocks: %s", kind)


def quantize_fp8(transformer: CausalWanTransformer) -> None:
    """Round the large products to 8-bit floats: those before self-attention, and the feed-forward network.

    Products of dim by dim channels are no faster in 8 bits, and stay as they are.
    """
    for block in transformer.blocks:
        attention, net = block.attn1, block.ffn.net
        parts = [(attention, "to_q"), (attention, "to_k"), (attention, "to_v"), (net[0], "proj"), (net, "2")]
        for parent, name in parts:
            setattr(parent, name, Fp8Linear.of(getattr(parent, name)))


def check_kind(kind: str, device: torch.device) -> None:
    """Raise ConfigError if products of this kind are not available on a device."""
    if kind not in KINDS:
        raise ConfigError("quantize", kind, f"it must be one of {KINDS}", "Use 'off'.")
    if kind == "fp8" and device.type != "cuda":
        raise ConfigError("quantize", kind, f"8-bit floats need a GPU, not {device}", "Use 'int8' or 'off'.")
    if kind == "fp8" and torch.cuda.get_device_capability(device) < _FP8_CAPABILITY:
        rule = f"8-bit floats need compute capability {_FP8_CAPABILITY}"
        raise ConfigError("quantize", kind, rule, "Use 'int8' or 'off'.")


def weight_bytes(transformer: nn.Module) -> int:
    """Bytes of a transformer's weights, quantized or not."""
    packed = sum(module.num_bytes for module in transformer.modules() if isinstance(module, Int8Linear))
    return packed + sum(_bytes_of(weight) for weight in transformer.parameters())


def _bytes_of(weight: Tensor) -> int:
    """Those of a rounded weight are in the tensors that it wraps."""
    if not is_traceable_wrapper_subclass(weight):
        return weight.nbytes
    names, _ = weight.__tensor_flatten__()
    return sum(_bytes_of(getattr(weight, name)) for name in names)


def _linears(transformer: CausalWanTransformer) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Each linear layer of the blocks, with the module that holds it and its name there."""
    found = [
        (module, name, child)
        for block in transformer.blocks
        for module in block.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Linear)
    ]
    yield from found


def _quantize_by_torchao(transformer: CausalWanTransformer) -> None:
    try:
        torchao: Any = importlib.import_module("torchao.quantization")
    except ImportError as error:
        rule = "torchao makes products in INT8 on a GPU, and is not installed"
        raise ConfigError(
            "quantize", "int8", rule, "Run pip install 'torchao>=0.15', or use 'off'."
        ) from error
    config = torchao.Int8DynamicActivationInt8WeightConfig()
    for block in transformer.blocks:
        torchao.quantize_(block, config, filter_fn=lambda module, _: isinstance(module, nn.Linear))
