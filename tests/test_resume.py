"""Going on from kept latents: the same as if nothing had happened, bit for bit, with few passes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longlive import ModelBundle, Session, load_models, resume
from longlive.chunks import SWITCH_MODES, FrameChunk, LatentChunk
from longlive.config import StreamConfig
from longlive.errors import SessionFileError
from longlive.resume import exact_way, quick_way
from longlive.session_file import PromptEvent, SessionRecord
from tests.conftest import write_tiny_model

RED, BLUE, STAR = "a red ball", "a blue cube", "the star jumps"
PROMPTS = (BLUE, STAR, "a red star", RED)

Switches = dict[int, Any]


@dataclass
class Told:
    """A story that is told without a break, and what was kept of it."""

    session: Session
    switches: Switches
    chunks: list[LatentChunk] = field(default_factory=list)

    @property
    def kept(self) -> list[Tensor]:
        """As a disk gives them back."""
        return [chunk.latents.float().clone() for chunk in self.chunks]

    def tell(self, end: int) -> "Told":
        while self.session.num_chunks < end:
            index = self.session.num_chunks
            if index in self.switches:
                self.session.set_prompt(PROMPTS[index % len(PROMPTS)], self.switches[index])
            self.chunks.append(self.session.next_latents())
        return self


def told(models: ModelBundle, end: int, switches: Switches | None = None, **options: Any) -> Told:
    return Told(Session(models, RED, seed=7, **options), switches or {}).tell(end)


def again(story: Told, *, exact: bool = True) -> Session:
    return Session.resume(story.session.models, story.session.record(), story.kept, exact=exact)


def assert_same(session: Session, expected: Session) -> None:
    """All that what comes next depends on."""
    cache, other = session._cache, expected._cache
    assert cache is not None and other is not None
    assert (cache._origin, cache._end, cache.is_relative) == (other._origin, other._end, other.is_relative)
    for layer in range(len(cache._layers)):
        mine, theirs = cache.contents(layer), other.contents(layer)
        assert mine.keys() == theirs.keys()
        for latent, pair in mine.items():
            assert all(map(torch.equal, pair, theirs[latent])), f"layer {layer}, latent {latent}"
    assert session._prompt is not None and expected._prompt is not None
    assert all(map(torch.equal, session._prompt.keys, expected._prompt.keys))
    assert all(map(torch.equal, session._recent, expected._recent))
    assert len(session._recent) == len(expected._recent)
    for name in ("prompts", "digests", "seconds", "num_chunks", "_start", "_num_served"):
        assert getattr(session, name) == getattr(expected, name), name
    assert session.record() == expected.record()


def check_every_break(models: ModelBundle, end: int, switches: Switches, **options: Any) -> None:
    """Break the story off after each chunk: state and next latents must be those of the whole."""
    whole = told(models, end + 1, switches, **options)
    part = told(models, 0, switches, **options)
    for at in range(1, end + 1):
        part.tell(at)
        session = again(part)
        assert_same(session, part.session)
        if at in switches:
            session.set_prompt(PROMPTS[at % len(PROMPTS)], switches[at])
        following = session.next_latents()
        assert torch.equal(following.latents, whole.chunks[at].latents), f"after {at} chunks"
        assert replace(following, latents=0, ready=None) == replace(whole.chunks[at], latents=0, ready=None)


STORIES: dict[str, Switches] = {
    "none": {},
    "soft before rolling": {2: "soft"},
    "soft after rolling": {7: "soft"},
    "soft in both": {1: "soft", 3: "soft", 8: "soft", 9: "soft"},
    "softly where the window is just full": {4: "soft", 5: "soft"},
    "hard": {3: "hard", 8: "hard"},
    "cut, then softly at once": {5: "hard", 6: "soft", 7: "hard", 8: "soft"},
    "softly, then cut": {7: "soft", 8: "hard"},
    "keep": {2: "keep", 7: "keep"},
    "keep among others": {1: "keep", 2: "soft", 6: "keep", 7: "soft", 8: "keep", 9: "hard", 10: "keep"},
}


@pytest.mark.parametrize("global_sink", [True, False])
@pytest.mark.parametrize("name", STORIES)
def test_what_follows_a_break_is_what_would_have_come_without_it(
    tiny_models: ModelBundle, name: str, global_sink: bool
) -> None:
    check_every_break(tiny_models, 11, STORIES[name], global_sink=global_sink)
