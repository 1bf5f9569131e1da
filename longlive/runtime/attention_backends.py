"""Which kernel computes the self-attention; by default the fastest that is available.

Self-attention is 57 % of a pass's work. Published on one H100 for heads of 128 channels, TFLOP/s:
FlashAttention 2 370, cuDNN 600, FlashAttention 3 646 (arXiv:2407.08608); SageAttention 2, in 8 bits, 900.

Kernels are called directly: ``torch.nn.attention.sdpa_kernel`` would set flags of the whole process, and a
decoder that runs in another thread meanwhile would find no kernel for its own attention.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_args

import torch
from torch import Tensor

from longlive.config import AttentionName
from longlive.errors import ConfigError
from longlive.models.attention import SDPA, Backend, attend

logger = logging.getLogger(__name__)

AUTO = "auto"
NAMES = get_args(AttentionName)
# Those that "auto" takes, best first. Sage rounds to 8 bits, so it must be asked for.
_ORDER = ("flash3", "flash4", "cudnn", "sdpa")
# Up to here FlashAttention 2 reads a prompt sooner than cuDNN: 0.060 against 0.070 ms for 4680 queries and
# 512 keys, 0.323 against 0.183 for 32760 (NVIDIA H200, torch 2.11).
_MAX_FLASH_QUERIES = 8192
# Package, function, and the compute capabilities (major) that it has kernels for.
_PACKAGES = {
    "flash3": ("flash_attn_interface", "flash_attn_func", (9,)),
    "flash4": ("flash_attn.cute", "flash_attn_func", (9, 10, 12)),
    "sage": ("sageattention", "sageattn", (8, 9, 10, 12)),
}


def choose_backend(device: torch.device, dtype: torch.dtype, name: str = AUTO) -> Backend:
    """The attention of this name, or the fastest that is available.

    Args:
        device, dtype: what the transformer computes on and in.
        name: one of NAMES, or ``auto``.

    Raises:
        ConfigError: if it is unknown, or not available here.
    """
    if name != AUTO and name not in NAMES:
        raise ConfigError("attention", name, f"it must be one of {(AUTO, *NAMES)}", "Use 'auto'.")
    candidates = _ORDER if name == AUTO else (name,)
    found = next((one for one in candidates if is_available(one, device, dtype)), None)
    if found is None:
        rule = f"it is not available on {device} in {dtype}"
        raise ConfigError("attention", name, rule, f"Use 'auto', or {_cure(name)}.")
    logger.info("attention: %s", found)
    return _backend(found)


def is_available(name: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether an attention of NAMES is available on a device in a dtype."""
    if name == "sdpa":
        return True
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    major, _ = torch.cuda.get_device_capability(device)
    if name == "cudnn":
        return major >= 9 and torch.backends.cudnn.is_available()
    package, _, majors = _PACKAGES[name]
    return major in majors and _is_installed(package)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _backend(name: str) -> Backend:
    if name == "sdpa":
        return SDPA
    if name == "cudnn":
        return Backend(name, _attend_with_cudnn)
    package, function, _ = _PACKAGES[name]
    return Backend(name, _from_package(getattr(import_module(package), function), name))


def _cure(name: str) -> str:
    return f"install the package {_PACKAGES[name][0]}" if name in _PACKAGES else "another"


def _attend_with_cudnn(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    batch = len(queries)
    q, k, v = (x.expand(batch, -1, -1, -1).type_as(values).transpose(1, 2) for x in (queries, keys, values))
    output = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False)[0]
    return output.transpose(1, 2).flatten(2)


def attend_to_prompt(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Cross-attention to a prompt by the kernel that is faster for few keys; see ``attend``."""
    if not _can_flash(queries) or queries.shape[1] > _MAX_FLASH_QUERIES:
        return attend(queries, keys, values)
    batch = len(queries)
    q, k, v = (x.expand(batch, -1, -1, -1).type_as(values).transpose(1, 2) for x in (queries, keys, values))
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0].transpose(1, 2).flatten(2)


def _can_flash(queries: Tensor) -> bool:
    """Whether torch's FlashAttention 2 takes queries (B, L, N, D)."""
    is_half, channels = queries.dtype in (torch.bfloat16, torch.float16), queries.shape[-1]
    if not queries.is_cuda or not is_half or channels % 8 or channels > 256:
        return False
    return torch.cuda.get_device_capability(queries.device) >= (8, 0)


def _from_package(function: Callable[..., Any], name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Adapt a package's function: it takes (B, L, N, D), too, and may return more than the output."""
    layout = {"tensor_layout": "NHD"} if name == "sage" else {}

    def attend_by_package(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        batch = len(queries)
        parts = (x.expand(batch, -1, -1, -1).type_as(values) for x in (queries, keys, values))
        output = function(*parts, **layout)
        return (output[0] if isinstance(output, tuple) else output).flatten(2)

    return attend_by_package
