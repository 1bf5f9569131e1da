"""What resuming costs is measured in both modes, and said in a line."""

import pytest

from longlive import ModelBundle, Session
from longlive.benchmark.resume_cost import make_chunks, resume_cost
from longlive.config import ResumeMode


@pytest.mark.parametrize(("mode", "recaches"), [("exact", False), ("quick", True)])
def test_each_mode_has_its_cost(tiny_models: ModelBundle, mode: ResumeMode, recaches: bool) -> None:
    session = Session(tiny_models, "a red ball", seed=7)
    kept, stage_ms = make_chunks(session, 8)
    assert len(kept) == 8 and set(stage_ms) == {"denoise", "remember", "decode"}
    cost = resume_cost(tiny_models, session.record(), kept[:7], mode, rounds=1)
    assert cost.resume_ms > 0 and cost.decoder_ms > 0
    assert (cost.switch_ms > 0) == recaches
    assert str(cost).startswith(f"{mode} after 7 chunks: ")
