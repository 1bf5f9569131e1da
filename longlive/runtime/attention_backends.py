"""Which kernel computes the self-attention: the quickest that is there, chosen once and told by its name.

Self-attention is 57 % of a pass's work. Published on one H100 for heads of 128 channels, TFLOP/s:
FlashAttention 2 370, cuDNN 600, FlashAttention 3 646 (arXiv:2407.08608); SageAttention 2, in 8 bits, 900.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from longlive.errors import ConfigError
from longlive.models.attention import SDPA, Backend

logger = logging.getLogger(__name__)

AUTO = "auto"
NAMES = ("flash3", "flash4", "cudnn", "sdpa", "sage")
# In the order in which "auto" takes them. Sage rounds to 8 bits, so it must be asked for.
_ORDER = ("flash3", "flash4", "cudnn", "sdpa")
# Package, function, and the compute capabilities (major) that it has kernels for.
_PACKAGES = {
    "flash3": ("flash_attn_interface", "flash_attn_func", (9,)),
    "flash4": ("flash_attn.cute", "flash_attn_func", (9, 10, 12)),
    "sage": ("sageattention", "sageattn", (8, 9, 10, 12)),
}


def choose_backend(device: torch.device, dtype: torch.dtype, name: str = AUTO) -> Backend:
    """The attention of this name, or the quickest that is there.

    Args:
        device, dtype: what the transformer computes on and in.
        name: one of NAMES, or ``auto``.

    Raises:
        ConfigError: if it is unknown, or not to be had here.
    """
    if name != AUTO and name not in NAMES:
        raise ConfigError("attention", name, f"it must be one of {(AUTO, *NAMES)}", "Use 'auto'.")
    found = next(
        (one for one in (_ORDER if name == AUTO else (name,)) if is_present(one, device, dtype)), None
    )
    if found is None:
        rule = f"it is not to be had on {device} in {dtype}"
        raise ConfigError("attention", name, rule, f"Use 'auto', or {_cure(name)}.")
    logger.info("attention: %s", found)
    return _made(found)


def is_present(name: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether an attention of NAMES can be computed on a device in a dtype."""
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


def _made(name: str) -> Backend:
    if name == "sdpa":
        return SDPA
    if name == "cudnn":
        return Backend(name, _attend_by_cudnn)
    package, function, _ = _PACKAGES[name]
    return Backend(name, _by_package(getattr(import_module(package), function), name))


def _cure(name: str) -> str:
    return f"install the package {_PACKAGES[name][0]}" if name in _PACKAGES else "another"


def _attend_by_cudnn(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    batch = len(queries)
    q, k, v = (x.expand(batch, -1, -1, -1).type_as(values).transpose(1, 2) for x in (queries, keys, values))
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _by_package(function: Callable[..., Any], name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A function of these packages as ours: they too take (B, L, N, D); some give more than the output."""
    layout = {"tensor_layout": "NHD"} if name == "sage" else {}

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        batch = len(queries)
        parts = (x.expand(batch, -1, -1, -1).type_as(values) for x in (queries, keys, values))
        output = function(*parts, **layout)
        return (output[0] if isinstance(output, tuple) else output).flatten(2)

    return attend
