import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longlive import ModelBundle, Session, load_models
from longlive.chunks import SWITCH_MODES, SwitchMode
from longlive.errors import ConfigError, PromptError, SessionClosedError, SessionFileError
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.noise import draw_noise
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.generation.session_file import SessionRecord
from longlive.models.list_cache import ListCache
from longlive.prompts import check_prompt
from tests.support.tiny_model import write_tiny_model

RED, BLUE, STAR = "a red ball", "a blue cube", "the star jumps"


def run(session: Session, num_chunks: int) -> Tensor:
    """The latents of the next chunks, (1, F, C, H, W)."""
    return torch.cat([session.next_latents().latents for _ in range(num_chunks)], 1)


def latents_of(
    models: ModelBundle, num_chunks: int, switches: dict[int, tuple[str, SwitchMode]], **options: Any
) -> Tensor:
    """The latents of a session that switches prompts before the given chunks."""
    session, parts = Session(models, RED, seed=7, **options), []
    for index in range(num_chunks):
        if index in switches:
            session.set_prompt(*switches[index])
        parts.append(run(session, 1))
    return torch.cat(parts, 1)


def test_a_chunk_knows_its_place_its_prompt_and_its_time(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, "  a red   ball ", seed=7)
    first, second = session.next_chunk(), session.next_chunk()
    assert (first.index, first.prompt_index, first.prompt, first.first_frame) == (0, 0, RED, 0)
    assert (second.index, second.first_frame, second.start_seconds, second.seconds) == (1, 9, 9 / 16, 12 / 16)
    assert first.frames.shape == (9, 32, 48, 3)
    assert second.frames.shape == (12, 32, 48, 3)
    assert session.seconds == 21 / 16
    assert session.num_chunks == 2


def test_the_same_seed_and_prompts_give_the_same_latents_bit_for_bit(tiny_models: ModelBundle) -> None:
    switches: dict[int, tuple[str, SwitchMode]] = {2: (BLUE, "soft"), 4: (STAR, "hard"), 5: (RED, "keep")}
    first = latents_of(tiny_models, 8, switches)
    torch.randn(100)
    np.random.default_rng().normal(size=3)
    assert torch.equal(first, latents_of(tiny_models, 8, switches))


def test_seed_take_and_prompt_each_change_the_video(tiny_models: ModelBundle) -> None:
    first = run(Session(tiny_models, RED, seed=7), 1)
    for other in (
        Session(tiny_models, RED, seed=8),
        Session(tiny_models, RED, seed=7, take=1),
        Session(tiny_models, BLUE, seed=7),
    ):
        assert not torch.allclose(first, run(other, 1), atol=1e-3)


def test_a_session_is_the_sampling_code_chunk_by_chunk(tiny_models: ModelBundle) -> None:
    """A reference: the same session written out, with the list cache instead of the ring."""
    models, config = tiny_models, tiny_models.config
    session = Session(models, RED, seed=7)
    cache = ListCache(config.transformer, session.stream, config.tokens_per_latent)
    timetable = FlowSchedule.of(config)
    prompts = [
        models.transformer.read_prompt(models.text_encoder.encode(text).tokens) for text in (RED, BLUE)
    ]
    parts: list[Tensor] = []
    for index in range(7):
        start, prompt = 3 * index, prompts[index >= 5]
        if index == 5:
            session.set_prompt(BLUE)
            recache(models.transformer, torch.cat(parts, 1)[:, -12:], prompt, cache, start=start)

        def noise(step: int, chunk: int = index) -> Tensor:
            return draw_noise((1, 3, 4, 4, 6), seed=7, take=0, chunk=chunk, step=step)

        clean = denoise_chunk(models.transformer, noise, prompt, cache, timetable, start=start)
        remember_chunk(models.transformer, clean, prompt, cache, start=start)
        parts.append(clean)
        torch.testing.assert_close(run(session, 1), clean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("switch", ["soft", "hard", "keep"])
def test_a_switch_changes_nothing_before_its_chunk_and_everything_from_it(
    tiny_models: ModelBundle, switch: SwitchMode
) -> None:
    plain, switched = latents_of(tiny_models, 6, {}), latents_of(tiny_models, 6, {3: (BLUE, switch)})
    assert torch.equal(plain[:, :9], switched[:, :9])
    changed = (plain - switched)[:, 9:].abs().amax((0, 2, 3, 4))
    assert changed.gt(1e-4).all()


def test_the_three_switches_differ(tiny_models: ModelBundle) -> None:
    soft, hard, keep = (
        latents_of(tiny_models, 5, {3: (BLUE, mode)})[:, 9:] for mode in ("soft", "hard", "keep")
    )
    assert min((a - b).abs().max() for a, b in ((soft, hard), (hard, keep), (soft, keep))) > 1e-5


def test_a_hard_cut_begins_like_a_new_video_while_the_clock_goes_on(tiny_models: ModelBundle) -> None:
    """Memory, sink, positions and decoder start from nothing; only the noise of that chunk is its own."""
    session = Session(tiny_models, RED, seed=7)
    for _ in range(5):
        session.next_chunk()
    assert session.set_prompt(BLUE, "hard") == 5
    cut, after = session.next_chunk(), session.next_chunk()
    assert (cut.index, cut.first_frame, len(cut.frames), len(after.frames)) == (5, 57, 9, 12)
    fresh = Session(tiny_models, BLUE, seed=7)
    fresh._generator.digests = ["not made"] * 5  # so that it draws the noise of chunks 5 and 6
    assert np.array_equal(cut.frames, fresh.next_chunk().frames)
    assert np.array_equal(after.frames, fresh.next_chunk().frames)


def test_a_soft_switch_uses_the_new_prompt_for_the_memory(tiny_models: ModelBundle) -> None:
    """Trap: recache with the old prompt. ``keep`` leaves the old prompt's memory, so the two must differ."""
    soft, keep = (Session(tiny_models, RED, seed=7) for _ in range(2))
    for session, mode in ((soft, "soft"), (keep, "keep")):
        run(session, 3)
        session.set_prompt(BLUE, mode)
        run(session, 1)
    old = Session(tiny_models, RED, seed=7)
    run(old, 4)
    caches = [session._generator.latents.cache for session in (soft, keep, old)]
    before = [cache.contents(1)[6][0] for cache in caches]
    assert not torch.allclose(before[0], before[2], atol=1e-5)
    assert torch.equal(before[1], before[2])


@pytest.mark.parametrize("mode", SWITCH_MODES)
@pytest.mark.parametrize("at", [1, 3, 8])
def test_a_switch_that_rebuilds_the_cache_spares_the_clean_pass_before_it(
    tiny_models: ModelBundle, monkeypatch: pytest.MonkeyPatch, mode: SwitchMode, at: int
) -> None:
    """And the video is the one that a clean pass right after each chunk gives."""
    session, plain = (Session(tiny_models, RED, seed=7) for _ in range(2))
    passes: list[int] = []
    remember = tiny_models.transformer.remember

    def count(clean: Tensor, *rest: Any, **options: Any) -> None:
        passes.append(clean.shape[1])
        remember(clean, *rest, **options)

    for number in range(10):
        if number == at:
            for one in (session, plain):
                one.set_prompt(BLUE, mode)
        passes.clear()
        with monkeypatch.context() as patch:
            patch.setattr(tiny_models.transformer, "remember", count)
            mine = session.next_latents().latents
        is_rolled = number * session.stream.chunk > session.stream.window
        recached = (session.stream.window - session.stream.sink) if is_rolled else 3 * number
        spared = {"soft": [recached], "hard": [], "keep": [3]}[mode]
        assert passes == ([] if number == 0 else spared if number == at else [3])
        assert torch.equal(mine, plain.next_latents().latents)
        plain._generator._remember_last()


def test_a_chunk_says_which_chunks_it_was_made_from_and_what_a_switch_did(tiny_models: ModelBundle) -> None:
    session, found = Session(tiny_models, RED, seed=7), []
    for index in range(10):
        switch: SwitchMode | None = {5: "soft", 6: "hard", 8: "keep"}.get(index)  # type: ignore[assignment]
        if switch:
            session.set_prompt(BLUE if index % 2 else RED, switch)
        attended = session.next_latents().attended
        assert attended is not None
        found.append((attended.sink, attended.window, attended.switch))
    assert found == [
        ((), (), None),
        ((0,), (), None),
        ((0,), (1,), None),
        ((0,), (1, 2), None),
        ((0,), (2, 3), None),
        ((0,), (3, 4), "soft"),
        ((), (), "hard"),
        ((6,), (), None),
        ((6,), (7,), "keep"),
        ((6,), (7, 8), None),
    ]


def test_switching_softly_and_back_at_the_same_boundary_counts_as_one_prompt(
    tiny_models: ModelBundle,
) -> None:
    session = Session(tiny_models, RED, seed=7)
    run(session, 2)
    assert [session.set_prompt(text) for text in (BLUE, STAR)] == [2, 2]
    assert session.next_latents().prompt == STAR
    assert [event.text for event in session.prompts] == [RED, STAR]


def test_queued_prompts_get_a_chunk_each_in_order(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, seed=7)
    run(session, 1)
    assert [session.set_prompt(text, queue=True) for text in (BLUE, STAR)] == [1, 2]
    chunks = [session.next_latents() for _ in range(3)]
    assert [chunk.prompt for chunk in chunks] == [BLUE, STAR, STAR]
    assert [chunk.prompt_index for chunk in chunks] == [1, 2, 2]


def test_a_new_word_replaces_queued_ones(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, seed=7)
    run(session, 1)
    session.set_prompt(BLUE, queue=True)
    session.set_prompt(STAR, queue=True)
    assert session.set_prompt(RED) == 1
    assert [event.text for event in session.prompts] == [RED, RED]


def test_a_prompt_before_the_first_chunk_replaces_the_first(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, seed=7)
    assert session.set_prompt(BLUE, "soft") == 0
    chunk = session.next_latents()
    assert (chunk.prompt, chunk.prompt_index) == (BLUE, 0)
    assert torch.equal(chunk.latents, run(Session(tiny_models, BLUE, seed=7), 1))


@pytest.mark.parametrize("bad", ["", "  ", "a\x00", "a" * 10_000])
def test_a_refused_prompt_leaves_the_stream_unharmed(tiny_models: ModelBundle, bad: str) -> None:
    session = Session(tiny_models, RED, seed=7)
    first = run(session, 1)
    with pytest.raises(PromptError):
        session.set_prompt(bad)
    assert torch.equal(torch.cat([first, run(session, 2)], 1), latents_of(tiny_models, 3, {}))


def test_impossible_choices_are_refused_by_name(tiny_models: ModelBundle) -> None:
    with pytest.raises(PromptError):
        Session(tiny_models, " ")
    for name, options in {
        "switch": {"switch": "fade"},
        "seed": {"seed": -1},
        "take": {"take": 1.5},
        "sink": {"sink": -4},
        "wndow": {"wndow": 9},
    }.items():
        with pytest.raises(ConfigError, match=rf"^{name} is"):
            Session(tiny_models, RED, **options)
    with pytest.raises(ConfigError, match=r"^switch is 'fade'"):
        Session(tiny_models, RED).set_prompt(BLUE, "fade")  # type: ignore[arg-type]


def test_a_closed_session_says_so_and_frees_its_memory(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED)
    session.next_chunk()
    cache = weakref.ref(session._generator.latents.cache)
    session.close()
    session.close()
    gc.collect()
    assert cache() is None
    for call in (session.next_chunk, lambda: session.set_prompt(BLUE)):
        with pytest.raises(SessionClosedError, match="Start a new one"):
            call()


def test_two_sessions_share_the_model_and_nothing_else(tiny_models: ModelBundle) -> None:
    """Trap: two tabs share frames."""
    one, two = Session(tiny_models, RED, seed=7), Session(tiny_models, BLUE, seed=3)
    pairs = [(one.next_chunk().frames, two.next_chunk().frames) for _ in range(3)]
    for number, (prompt, seed) in enumerate(((RED, 7), (BLUE, 3))):
        alone = Session(tiny_models, prompt, seed=seed)
        assert all(np.array_equal(pair[number], alone.next_chunk().frames) for pair in pairs)


def test_every_stage_of_a_chunk_is_timed(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED)
    session.next_chunk()
    assert set(session.stage_ms) == {"text", "switch", "denoise", "decode"}
    session.next_chunk()
    assert set(session.stage_ms) == {"remember", "denoise", "decode"}
    assert sum(session.stage_ms.values()) > 0


def tensors_held(session: Session) -> int:
    features = [part for part in session._decoder._features or [] if isinstance(part, Tensor)]
    recent = sum(part.numel() for part in session._generator.latents.recent)
    return session._generator.latents.cache.num_bytes + recent + sum(part.numel() for part in features)


def test_three_hundred_chunks_take_no_more_memory_than_thirty(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, seed=7)
    for _ in range(30):
        session.next_chunk()
    held, tensors = tensors_held(session), count_tensors()
    for index in range(270):
        if index % 50 == 7:
            session.set_prompt((BLUE, STAR)[index // 50 % 2])
        session.next_latents()
    assert tensors_held(session) == held
    assert count_tensors() <= tensors + 2
    assert session.num_chunks == 300
    assert session.seconds == (1 + 4 * 899) / 16


def count_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


@pytest.fixture(scope="module")
def absolute_models(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Positions are absolute, and the table has 64 of them."""
    folder = tmp_path_factory.mktemp("absolute")
    write_tiny_model(folder, positions="absolute")
    return load_models(folder)


def test_absolute_positions_go_over_to_relative_ones_before_the_table_ends(
    absolute_models: ModelBundle,
) -> None:
    """The reference crashes at 1024 latents, 4 minutes 16 seconds."""
    session = Session(absolute_models, RED, seed=7)
    run(session, 21)
    assert not session._generator.latents.cache.is_relative, "63 latents have a position each"
    latents = run(session, 5)
    assert session._generator.latents.cache.is_relative
    assert latents.isfinite().all()
    session.set_prompt(BLUE, "soft")
    assert run(session, 2).isfinite().all()


def test_a_hard_cut_goes_back_to_absolute_positions(absolute_models: ModelBundle) -> None:
    session = Session(absolute_models, RED, seed=7)
    run(session, 23)
    session.set_prompt(BLUE, "hard")
    cut = run(session, 2)
    assert not session._generator.latents.cache.is_relative
    fresh = Session(absolute_models, BLUE, seed=7)
    fresh._generator.digests = ["not made"] * 23
    assert torch.equal(cut, run(fresh, 2))


def test_attending_to_everything_ends_in_words_at_the_end_of_the_table(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, window=-1)
    run(session, 21)
    with pytest.raises(ConfigError, match="window"):
        run(session, 1)


@pytest.mark.parametrize(
    "options", [{"window": 7, "sink": 1}, {"window": 6, "sink": 0}, {"global_sink": False}]
)
def test_other_windows_and_sinks_run_and_switch(tiny_models: ModelBundle, options: dict[str, Any]) -> None:
    switches: dict[int, tuple[str, SwitchMode]] = {5: (BLUE, "soft")}
    latents = latents_of(tiny_models, 7, switches, **options)
    assert latents.isfinite().all()
    assert not torch.equal(latents[:, 12:], latents_of(tiny_models, 7, switches)[:, 12:])


def saved(session: Session, path: Path) -> Path:
    session.save(path)
    return path


def test_a_run_cut_in_pieces_gives_what_a_run_in_one_piece_gives(
    tiny_models: ModelBundle, tmp_path: Path
) -> None:
    whole, pieces = Session(tiny_models, RED, seed=7), Session(tiny_models, RED, seed=7)
    frames: dict[str, list[np.ndarray]] = {"whole": [], "pieces": []}
    for index in range(10):
        if index in (3, 7):
            mode: SwitchMode = "soft" if index == 3 else "hard"
            whole.set_prompt((BLUE, STAR)[index == 7], mode)
            pieces.set_prompt((BLUE, STAR)[index == 7], mode)
        if index in (2, 4, 7, 8):
            path = saved(pieces, tmp_path / "s.json")
            pieces.close()
            pieces = Session.load(tiny_models, path)
        frames["whole"].append(whole.next_chunk().frames)
        frames["pieces"].append(pieces.next_chunk().frames)
    assert whole.digests == pieces.digests
    assert whole.prompts == pieces.prompts
    assert all(np.array_equal(a, b) for a, b in zip(*frames.values(), strict=True))


def test_a_session_file_says_how_the_run_was_made(tiny_models: ModelBundle, tmp_path: Path) -> None:
    session = Session(tiny_models, RED, seed=7, take=2, window=9)
    run(session, 2)
    session.set_prompt(BLUE, "keep")
    record = SessionRecord.read(saved(session, tmp_path / "s.json"))
    assert (record.seed, record.take, record.stream.window) == (7, 2, 9)
    assert (record.model_digest, record.dtype, record.device) == (tiny_models.digest, "float32", "cpu")
    assert (record.height, record.width, record.threads) == (32, 48, torch.get_num_threads())
    assert [(p.chunk, p.text, p.switch) for p in record.prompts] == [(0, RED, None), (2, BLUE, "keep")]
    assert record.chunks == session.digests


def test_a_file_of_another_model_or_dtype_is_refused_with_the_reason(
    tiny_models: ModelBundle, tiny_folder: Path, absolute_models: ModelBundle, tmp_path: Path
) -> None:
    path = saved(Session(tiny_models, RED), tmp_path / "s.json")
    with pytest.raises(SessionFileError, match="another model"):
        Session.load(absolute_models, path)
    with pytest.raises(SessionFileError, match="another dtype: float32; here it is bfloat16"):
        Session.load(load_models(tiny_folder, dtype=torch.bfloat16), path)


def test_a_chunk_that_comes_out_different_is_named(tiny_models: ModelBundle, tmp_path: Path) -> None:
    session = Session(tiny_models, RED)
    run(session, 3)
    session._generator.digests[1] = "0" * 16
    with pytest.raises(SessionFileError, match=r"Chunk 1 .* comes out different"):
        Session.load(tiny_models, saved(session, tmp_path / "s.json"))


def test_a_prompt_that_the_model_cannot_read_to_its_end_is_reported_while_it_is_in_use(
    tiny_models: ModelBundle,
) -> None:
    """The tiny model reads 12 tokens, the end mark included."""
    long = " ".join(["ball"] * 12)
    session = Session(tiny_models, long, seed=7)
    assert session.truncated_prompt is None, "not read yet"
    session.next_latents()
    assert session.truncated_prompt == long
    session.set_prompt(RED)
    assert session.truncated_prompt == long, "still in use"
    session.next_latents()
    assert session.truncated_prompt is None


def test_a_prompt_is_cleaned_once_from_the_session_to_the_text_encoder(
    tiny_models: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[str] = []

    def clean(text: str) -> str:
        cleaned.append(text)
        return text.strip()

    monkeypatch.setattr("longlive.prompts.clean_prompt", clean)
    session = Session(tiny_models, " a red ball on ice ", seed=7)
    session.next_latents()
    session.set_prompt(check_prompt(" a blue cube on ice "))
    session.next_latents()
    assert cleaned == [" a red ball on ice ", " a blue cube on ice "]
    assert [event.text for event in session.prompts] == ["a red ball on ice", "a blue cube on ice"]
