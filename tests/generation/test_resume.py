"""Going on from kept latents: the same as if nothing had happened, bit for bit, with few passes."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longlive import ModelBundle, Session, load_models
from longlive.chunks import SWITCH_MODES, LatentChunk
from longlive.cli import main
from longlive.config import CacheName, StreamConfig
from longlive.errors import SessionFileError
from longlive.generation.latent_stream import LatentStream
from longlive.generation.resume import ResumePlan, plan_exact, plan_quick
from longlive.generation.session_file import PromptEvent, SessionRecord
from longlive.models.bundle import RuntimeProfile
from longlive.models.tiny_vae import TinyVae
from longlive.runtime.cuda_graphs import EagerCapture, GraphReplayer
from tests.support.tiny_model import write_tiny_model

RED, BLUE, STAR = "a red ball", "a blue cube", "the star jumps"
PROMPTS = (BLUE, STAR, "a red star", RED)

Switches = dict[int, Any]


@dataclass
class RecordedSession:
    """A session that runs without a break, and the latents that were kept of it."""

    session: Session
    switches: Switches
    chunks: list[LatentChunk] = field(default_factory=list)

    @property
    def kept(self) -> list[Tensor]:
        """The latents as they are read back from a disk."""
        return [chunk.latents.float().clone() for chunk in self.chunks]

    def advance(self, end: int) -> "RecordedSession":
        while self.session.num_chunks < end:
            index = self.session.num_chunks
            if index in self.switches:
                self.session.set_prompt(PROMPTS[index % len(PROMPTS)], self.switches[index])
            self.chunks.append(self.session.next_latents())
        return self


def recorded(
    models: ModelBundle, end: int, switches: Switches | None = None, **options: Any
) -> RecordedSession:
    return RecordedSession(Session(models, RED, seed=7, **options), switches or {}).advance(end)


def resumed(kept: RecordedSession, *, exact: bool = True) -> Session:
    return Session.resume(kept.session.models, kept.session.record(), kept.kept, exact=exact)


def assert_same(session: Session, expected: Session) -> None:
    """All that what comes next depends on."""
    stream, expected_stream = session._generator.latents, expected._generator.latents
    cache, other = stream.cache, expected_stream.cache
    for one in (session, expected):
        one._generator._remember_last()  # as the next chunk would; a session just resumed has done so
    spared = range(0) if expected_stream._is_last_remembered else last_chunk(expected_stream)
    assert (cache._index.placed, cache.is_relative) == (other._index.placed, other.is_relative)
    for layer in range(len(cache._layers)):
        mine, theirs = cache.contents(layer), other.contents(layer)
        assert mine.keys() == theirs.keys()
        for latent, pair in mine.items():
            is_same = all(map(torch.equal, pair, theirs[latent]))
            assert is_same or latent in spared, f"layer {layer}, latent {latent}"
    assert stream.prompt is not None and expected_stream.prompt is not None
    for mine, theirs in zip(vars(stream.prompt).values(), vars(expected_stream.prompt).values(), strict=True):
        assert all(map(torch.equal, mine.keys, theirs.keys))
    assert all(map(torch.equal, stream.recent, expected_stream.recent))
    assert (len(stream.recent), stream.start) == (len(expected_stream.recent), expected_stream.start)
    assert session._generator.timeline.index == expected._generator.timeline.index
    for name in ("prompts", "digests", "seconds", "num_chunks", "truncated_prompt"):
        assert getattr(session, name) == getattr(expected, name), name
    assert session.record() == expected.record()


def last_chunk(stream: LatentStream) -> range:
    """The latents of the last chunk, whose clean pass is spared by a switch that rebuilds the cache."""
    return range(stream.start - stream.stream.chunk, stream.start)


def check_breaks(models: ModelBundle, breaks: Iterable[int], switches: Switches, **options: Any) -> None:
    """Break the session off after so many chunks: state and next latents must be those of the whole."""
    whole = recorded(models, max(breaks) + 1, switches, **options)
    part = recorded(models, 0, switches, **options)
    for at in breaks:
        part.advance(at)
        session = resumed(part)
        assert_same(session, part.session)
        if at in switches:
            session.set_prompt(PROMPTS[at % len(PROMPTS)], switches[at])
        following = session.next_latents()
        assert torch.equal(following.latents, whole.chunks[at].latents), f"after {at} chunks"
        for name in ("index", "prompt_index", "prompt", "first_latent"):
            assert getattr(following, name) == getattr(whole.chunks[at], name)
        lead_in, expected = following.lead_in, whole.chunks[at].lead_in
        assert (lead_in is None) == (expected is None)
        assert lead_in is None or torch.equal(lead_in, expected)


@pytest.fixture(scope="module")
def small_decoder(tiny_models: ModelBundle) -> ModelBundle:
    """With a decoder that catches up fast, where latents alone are compared."""
    return replace(tiny_models, decoder=lively_vae())


SWITCHES: dict[str, Switches] = {
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
@pytest.mark.parametrize("name", SWITCHES)
def test_what_follows_a_break_is_what_would_have_come_without_it(
    small_decoder: ModelBundle, name: str, global_sink: bool
) -> None:
    switches = SWITCHES[name]
    breaks = sorted({1, 11, *switches, *(at + 1 for at in switches)})
    check_breaks(small_decoder, breaks, switches, global_sink=global_sink)


@pytest.mark.parametrize("seed", range(12))
def test_random_sessions_go_on_where_they_were_broken_off(tiny_models: ModelBundle, seed: int) -> None:
    rng = random.Random(seed)
    streams: list[dict[str, Any]] = [
        {},
        {"global_sink": False},
        {"window": 7, "sink": 1},
        {"window": 10, "sink": 2},
        {"window": 6, "sink": 0},
        {"window": 6},
        {"chunk": 1, "window": 4, "sink": 1},
        {"chunk": 1, "window": 7, "sink": 4},
        {"chunk": 2, "window": 8, "sink": 5},
        {"window": 12, "overlap": 3},
        {"window": 12, "overlap": 6},
        {"window": -1},
    ]
    switches = {at: rng.choice(SWITCH_MODES) for at in sorted(rng.sample(range(1, 16), rng.randint(2, 9)))}
    breaks = sorted(rng.sample(range(1, 16), 5))
    check_breaks(tiny_models, breaks, switches, **rng.choice(streams))


@pytest.mark.parametrize("global_sink", [True, False])
@pytest.mark.parametrize("name", ["none", "soft in both", "keep among others", "soft after rolling"])
def test_a_sink_of_several_chunks_is_made_again_whole(
    small_decoder: ModelBundle, name: str, global_sink: bool
) -> None:
    stream = {"chunk": 1, "window": 7, "sink": 4, "global_sink": global_sink}
    check_breaks(small_decoder, (2, 4, 6, 9, 11, 13), SWITCHES[name], **stream)


@pytest.mark.parametrize(
    ("name", "overlap"), [("none", 3), ("soft in both", 3), ("keep among others", 6), ("hard", 6)]
)
def test_rollouts_that_overlap_go_on_where_they_were_broken_off(
    small_decoder: ModelBundle, name: str, overlap: int
) -> None:
    check_breaks(small_decoder, (3, 4, 5, 9), SWITCHES[name], window=12, overlap=overlap)


def test_a_second_set_of_weights_writes_the_same_again(two_set_models: ModelBundle) -> None:
    switches = {2: "soft", 5: "keep", 7: "soft", 9: "hard", 11: "keep"}
    check_breaks(two_set_models, (3, 6, 8, 12), switches)


def test_an_endless_window_is_made_again_whole(tiny_models: ModelBundle) -> None:
    check_breaks(tiny_models, (3, 9, 12, 15), {4: "soft", 6: "keep", 10: "hard", 12: "soft"}, window=-1)


@pytest.fixture(scope="module")
def absolute_models(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Positions are absolute, and the table has 64 of them: 21 chunks; a decoder that catches up fast."""
    folder = tmp_path_factory.mktemp("absolute")
    write_tiny_model(folder, positions="absolute")
    return replace(load_models(folder), decoder=lively_vae())


@pytest.mark.parametrize("global_sink", [True, False])
@pytest.mark.parametrize(
    "switches",
    [
        {},
        {2: "soft", 24: "soft"},
        {21: "soft"},
        {22: "keep", 23: "soft"},
        {3: "soft", 23: "hard", 24: "soft"},
    ],
    ids=str,
)
def test_the_change_over_to_relative_positions_happens_again_even_among_skipped_chunks(
    absolute_models: ModelBundle, switches: Switches, global_sink: bool
) -> None:
    check_breaks(absolute_models, (4, 20, 21, 22, 24, 26), switches, global_sink=global_sink)


@pytest.mark.parametrize("cache", ["full", "fp8"])
def test_rounded_latents_and_keys_come_back_the_same(tiny_folder: Path, cache: CacheName) -> None:
    models = replace(load_models(tiny_folder, dtype=torch.bfloat16), runtime=RuntimeProfile(cache=cache))
    check_breaks(models, (3, 6, 9), {2: "soft", 7: "soft", 8: "keep"})


def test_recorded_passes_leave_the_same(tiny_folder: Path) -> None:
    models = load_models(tiny_folder)
    models.transformer.pass_runner = GraphReplayer(EagerCapture)
    check_breaks(models, (3, 6, 9), {2: "soft", 7: "soft", 8: "keep"})


def test_a_queue_of_prompts_to_come_goes_on(tiny_models: ModelBundle) -> None:
    sessions = [recorded(tiny_models, 6), recorded(tiny_models, 6)]
    for kept in sessions:
        for text in (BLUE, STAR, RED):
            kept.session.set_prompt(text, "soft", queue=True)
        kept.advance(7)
    session = resumed(sessions[0])
    assert_same(session, sessions[1].session)
    sessions[1].advance(10)
    assert [session.next_latents().prompt for _ in range(3)] == [STAR, RED, RED]
    assert session.digests == sessions[1].session.digests


def test_before_the_first_chunk_a_resumed_session_is_a_new_one(tiny_models: ModelBundle) -> None:
    for exact in (True, False):
        session = resumed(recorded(tiny_models, 0), exact=exact)
        assert session.prompts == (PromptEvent(0, RED, None),)
        expected = recorded(tiny_models, 0).session.next_chunk()
        assert np.array_equal(session.next_chunk().frames, expected.frames)


def pictures(session: Session, chunks: Iterable[LatentChunk]) -> list[Any]:
    return [session.decode(chunk) for chunk in chunks]


@pytest.mark.parametrize("decoder", ["wan", "tiny"])
@pytest.mark.parametrize("cuts", [{}, {5: "hard"}, {12: "hard"}], ids=str)
def test_the_pictures_go_on_bit_for_bit_and_none_is_shown_twice(
    tiny_models: ModelBundle, decoder: str, cuts: Switches
) -> None:
    models = tiny_models
    if decoder == "tiny":
        models = replace(models, decoder=lively_vae())
    whole = recorded(models, 16, cuts)
    expected = pictures(whole.session, whole.chunks)
    for at in (1, 4, 6, 11, 12, 13):
        kept = recorded(models, at, cuts)
        kept.session = resumed(kept)
        kept.advance(at + 3)
        for chunk, right in zip(pictures(kept.session, kept.chunks[at:]), expected[at:], strict=False):
            assert (chunk.first_frame, chunk.index) == (right.first_frame, right.index)
            assert np.array_equal(chunk.frames, right.frames), f"chunk {chunk.index} after {at}"


def lively_vae() -> TinyVae:
    """A tiny VAE with random weights that are large enough for its pictures to depend on the past."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = TinyVae(4, (12, 8, 8, 6)).eval().requires_grad_(False)
        for weight in vae.parameters():
            weight.copy_(
                torch.randn_like(weight) * (1.2 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1)
            )
        vae.decoder[-1].bias.fill_(0.5)  # type: ignore[union-attr, operator]
    return vae


class Counted:
    """Counts the transformer's passes; none may denoise."""

    def __init__(self, models: ModelBundle, patch: pytest.MonkeyPatch) -> None:
        self.latents: list[int] = []
        remember = models.transformer.remember

        def count(latents: Tensor, *more: Any, **options: Any) -> Any:
            self.latents.append(latents.shape[1])
            return remember(latents, *more, **options)

        patch.setattr(models.transformer, "remember", count)
        patch.setattr(models.transformer, "_predict", None)


def passes(kept: RecordedSession, *, exact: bool) -> list[int]:
    """The latents of each pass of a resume."""
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(kept.session.models, patch)
        resumed(kept, exact=exact)
    return counted.latents


def test_passes_that_leave_nothing_are_not_made(tiny_models: ModelBundle) -> None:
    """The sink's, then the recache of the ring beside it, then one for each chunk since."""
    assert passes(recorded(tiny_models, 14, {4: "keep", 11: "soft"}), exact=True) == [3, 9, 3, 3, 3]
    assert passes(recorded(tiny_models, 14, {3: "soft", 11: "soft"}), exact=True) == [9, 3, 9, 3, 3, 3]
    assert passes(recorded(tiny_models, 14, {11: "soft"}, global_sink=False), exact=True) == [12, 3, 3, 3]
    assert passes(recorded(tiny_models, 14, {5: "soft", 12: "hard"}), exact=True) == [3, 3]
    assert passes(recorded(tiny_models, 8), exact=True) == [3] * 8


def test_a_quick_resume_costs_no_more_after_a_longer_video(tiny_models: ModelBundle) -> None:
    """The recache comes with the next chunk, as at any soft switch."""
    assert passes(recorded(tiny_models, 8), exact=False) == [3]
    assert passes(recorded(tiny_models, 30), exact=False) == [3]
    assert passes(recorded(tiny_models, 30, {3: "soft", 9: "keep"}), exact=False) == [9, 3]
    assert passes(recorded(tiny_models, 30), exact=True) == [3] * 30


@pytest.mark.parametrize("switches", [{}, {3: "soft", 6: "keep"}, {6: "hard"}], ids=str)
def test_a_quick_resume_is_the_same_prompt_said_again_softly(
    tiny_models: ModelBundle, switches: Switches
) -> None:
    broken, whole = recorded(tiny_models, 13, switches), recorded(tiny_models, 13, switches)
    session = resumed(broken, exact=False)
    whole.session.set_prompt(whole.session.prompts[-1].text, "soft")
    assert session.prompts == whole.session.prompts
    for _ in range(3):
        assert torch.equal(session.next_latents().latents, whole.session.next_latents().latents)
    assert_same(session, whole.session)


def test_a_quick_resume_is_exact_where_that_is_as_short(tiny_models: ModelBundle) -> None:
    """Before the window is full, and soon after a cut or a soft switch."""
    for kept in (
        recorded(tiny_models, 4),
        recorded(tiny_models, 12, {10: "soft"}),
        recorded(tiny_models, 12, {9: "hard"}),
    ):
        session = resumed(kept, exact=False)
        assert_same(session, kept.session)


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_a_quick_resume_adds_nothing_where_a_switch_makes_the_memory_anew(
    tiny_models: ModelBundle, mode: Any
) -> None:
    broken, whole = recorded(tiny_models, 9), recorded(tiny_models, 9)
    for kept in (broken, whole):
        kept.session.set_prompt(BLUE, mode)
    session = resumed(broken, exact=False)
    assert session.prompts == whole.session.prompts
    frames = [session.next_chunk().frames for _ in range(2)]
    pictures(whole.session, whole.chunks)
    assert all(np.array_equal(mine, whole.session.next_chunk().frames) for mine in frames)


def test_a_quick_resume_puts_a_kept_memory_off_by_a_chunk(tiny_models: ModelBundle) -> None:
    kept = recorded(tiny_models, 9)
    for text, mode in ((BLUE, "keep"), (STAR, "soft")):
        kept.session.set_prompt(text, mode, queue=True)  # type: ignore[arg-type]
    session = resumed(kept, exact=False)
    assert [(event.chunk, event.text, event.switch) for event in session.prompts[1:]] == [
        (9, RED, "soft"),
        (10, BLUE, "keep"),
        (11, STAR, "soft"),
    ]
    assert [session.next_latents().prompt for _ in range(3)] == [RED, BLUE, STAR]


@pytest.mark.parametrize("before", [None, "soft", "hard"])
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_a_prompt_right_after_a_quick_resume_takes_the_place_of_the_repeated_one(
    tiny_models: ModelBundle, before: Any, mode: Any
) -> None:
    broken, whole = recorded(tiny_models, 9), recorded(tiny_models, 9)
    if before:
        broken.session.set_prompt(STAR, before)
    session = resumed(broken, exact=False)
    session.set_prompt(RED, "keep")
    assert [one.set_prompt(BLUE, mode) for one in (session, whole.session)] == [9, 9]
    for _ in range(2):
        assert torch.equal(session.next_latents().latents, whole.session.next_latents().latents)
    assert_same(session, whole.session)


def test_a_prompt_that_keeps_the_memory_waits_for_one_after_a_quick_resume(tiny_models: ModelBundle) -> None:
    session = resumed(recorded(tiny_models, 9), exact=False)
    assert [session.set_prompt(text, "keep") for text in (STAR, BLUE)] == [10, 10]
    assert [session.next_latents().prompt for _ in range(2)] == [RED, BLUE]
    assert session.set_prompt(STAR, "keep") == 11


def test_a_session_resumed_again_and_again_replays_from_its_file(
    tiny_models: ModelBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = recorded(tiny_models, 6, {3: "keep", 11: "soft"})
    for exact, end in ((False, 9), (True, 10), (False, 16), (False, 20), (True, 21)):
        kept = replace(kept, session=resumed(kept, exact=exact)).advance(end)
    assert [event.chunk for event in kept.session.prompts] == [0, 3, 6, 10, 11, 16]
    kept.session.save(tmp_path / "s.json")
    assert main(["replay", str(tmp_path / "s.json"), "--verify"]) == 0
    assert "21 chunks, all as recorded" in capsys.readouterr().out
    assert Session.load(tiny_models, tmp_path / "s.json").digests == kept.session.digests


@pytest.fixture(scope="module")
def kept(tiny_models: ModelBundle) -> tuple[SessionRecord, list[Tensor]]:
    kept = recorded(tiny_models, 3)
    return kept.session.record(), kept.kept


def test_latents_that_are_not_those_of_the_record_are_refused_in_words(
    tiny_models: ModelBundle, kept: tuple[SessionRecord, list[Tensor]]
) -> None:
    record, latents = kept
    faults = {
        "latents of 2 chunks were kept, but the session file has 3": latents[:2],
        r"chunk 1 have shape \(1, 2, 4, 4, 6\), but this session makes \(1, 3, 4, 4, 6\)": [
            latents[0],
            latents[1][:, :2],
            latents[2],
        ],
        "chunk 1 are not those of the session file": [latents[0], latents[2], latents[1]],
        "chunk 2 are not those": [*latents[:2], latents[2] + 1e-6],
    }
    for words, given in faults.items():
        with pytest.raises(SessionFileError, match=words):
            Session.resume(tiny_models, record, given, exact=True)


def test_a_record_of_another_model_dtype_or_rounding_is_refused(
    tiny_models: ModelBundle,
    tiny_folder: Path,
    absolute_models: ModelBundle,
    kept: tuple[SessionRecord, list[Tensor]],
) -> None:
    others = {
        "another model": absolute_models,
        "another dtype": load_models(tiny_folder, dtype=torch.bfloat16),
        "another cache": replace(tiny_models, runtime=RuntimeProfile(cache="fp8")),
        "another quantization": replace(tiny_models, runtime=RuntimeProfile(quantization="int8")),
    }
    for words, models in others.items():
        with pytest.raises(SessionFileError, match=words):
            Session.resume(models, *kept, exact=False)


def events(*switches: tuple[int, Any]) -> tuple[PromptEvent, ...]:
    return (PromptEvent(0, RED, None), *(PromptEvent(chunk, BLUE, mode) for chunk, mode in switches))


def test_prompts_that_a_file_gives_for_one_chunk_are_served_in_turn() -> None:
    way = plan_exact(events((2, "soft"), (2, "hard"), (3, "keep")), 9, StreamConfig())
    assert [event.chunk for event in way.prompts] == [0, 2, 3, 4]
    assert way.passes == set(range(3, 9))


def test_a_way_is_known_without_a_model() -> None:
    stream = StreamConfig()
    assert plan_quick(events(), 400, stream).passes == {0}
    assert plan_quick(events((3, "soft"), (50, "keep")), 400, stream).passes == {3}
    assert plan_quick(events((3, "soft"), (50, "hard")), 400, stream).passes == {50}
    assert plan_quick(events((400, "hard")), 400, stream) == ResumePlan(events((400, "hard")), frozenset({0}))
    assert plan_quick(events(), 400, StreamConfig(window=-1)) == plan_exact(
        events(), 400, StreamConfig(window=-1)
    )
    assert plan_exact(events((400, "soft"), (401, "hard")), 400, stream).passes == set(range(400))
