"""What crosses to other processes and machines."""

import pickle
from contextlib import nullcontext
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
import torch

from longlive.generation.session_file import PromptEvent
from longlive.serving.executors.events import ChunkCheckpoint
from longlive.serving.executors.job import Job, ResumeState
from longlive.serving.executors.messages import Playhead, Prompt
from longlive.serving.limits import Limits
from tests.support.fakes import FakeModels, FakeSession

ORDER = Job(name="one", seed=3, prompts=(Prompt("a ball"),), limits=Limits(), playhead=Playhead(2.0))
RECORD = FakeSession(FakeModels(), ORDER, nullcontext).record()
LATENTS = tuple(torch.randn(1, 3, 2, 4, 5).to(dtype) for dtype in (torch.float32, torch.bfloat16))


@pytest.mark.parametrize("dumps", [pickle.dumps, ForkingPickler.dumps], ids=["pickle", "multiprocessing"])
@pytest.mark.parametrize(
    "value",
    [
        Job(
            name="one",
            seed=3,
            prompts=(),
            limits=Limits(),
            resume=ResumeState(RECORD, LATENTS, 9, exact=True),
        ),
        ChunkCheckpoint(RECORD, PromptEvent(4, "a ball", "hard"), "abc", LATENTS[1]),
        ORDER,
    ],
    ids=["past", "kept", "new"],
)
def test_values_cross_whole_and_their_latents_as_bytes(value: Any, dumps: Any) -> None:
    pickled = bytes(dumps(value))
    back = pickle.loads(pickled)
    held = value.resume if isinstance(value, Job) else value
    if held is None:
        assert back == value
        return
    found = back.resume if isinstance(back, Job) else back
    expected, got = (one if isinstance(one, tuple) else (one,) for one in (held.latents, found.latents))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(expected, got, strict=True))
    assert all(one.view(torch.uint8).numpy().tobytes() in pickled for one in expected)
    for name in ("record", "num_frames", "exact", "event", "digest"):
        assert getattr(found, name, None) == getattr(held, name, None)
