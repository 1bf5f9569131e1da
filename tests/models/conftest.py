"""A tiny Wan VAE with random weights, with the plain and with the fast layers."""

import copy

import pytest
import torch
from diffusers import AutoencoderKLWan

from longlive.models.wan_vae import optimize_for_cpu
from tests.support.tiny_model import tiny_vae


@pytest.fixture(scope="package")
def vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return tiny_vae().requires_grad_(False)


@pytest.fixture(scope="package")
def fast_vae(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    fast = copy.deepcopy(vae)
    optimize_for_cpu(fast)
    return fast
