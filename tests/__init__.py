"""Tests. Without a GPU, Triton's kernels are interpreted, which Triton decides when it is first imported."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
