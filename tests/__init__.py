"""Tests. Without a GPU, Triton's kernels are interpreted, which Triton decides when it is first imported."""

import gc
import os

# The imports that follow, here and in the programs of tests/support, make a million objects, hardly any of them
# garbage: with Python's usual thresholds the search for it takes a quarter of their time. Programs that weigh
# themselves call gc.collect(); the tests run with what is usual (tests/conftest.py).
USUAL_THRESHOLD = gc.get_threshold()
gc.set_threshold(100_000, 50, 100)

import torch  # noqa: E402

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
