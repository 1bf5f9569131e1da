"""A video that begins with a picture or another video: what is encoded, remembered, recorded, replayed."""

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from longlive import ModelBundle, Session, load_models
from longlive.chunks import LatentChunk, SwitchMode
from longlive.config import StreamConfig
from longlive.errors import ConfigError, MediaError, SessionFileError
from longlive.generation.sampling import denoise_chunk
from longlive.generation.session_file import SessionRecord
from longlive.generation.start_clip import (
    fill_chunks,
    max_start_chunks,
    pack_latents,
    read_start,
    start_latents,
    unpack_latents,
)
from longlive.models.decoder import StreamingDecoder, to_uint8
from longlive.models.wan_vae import encode_pictures

RED, BLUE, STAR = "a red ball", "a blue cube", "the star jumps"


def clip(num_frames: int, seed: int = 0) -> np.ndarray:
    """Pictures of the tiny model's size, each a little different from the one before."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 256, (32, 48, 3))
    return np.stack([np.roll(ground, number, axis=1) for number in range(num_frames)]).astype(np.uint8)


def encoded(models: ModelBundle, pictures: np.ndarray) -> Tensor:
    """Latents as the session keeps them: rounded to float16."""
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2)[None].float() / 127.5 - 1
    return encode_pictures(models.vae, scaled).half().float()


def advance(session: Session, num_chunks: int) -> list[LatentChunk]:
    return [session.next_latents() for _ in range(num_chunks)]


def test_no_more_chunks_are_taken_than_the_next_one_attends_to(tiny_models: ModelBundle) -> None:
    config = tiny_models.config
    assert max_start_chunks(config) == 3  # a window of 12 latents, 3 of them the next chunk's
    assert max_start_chunks(config, StreamConfig.of(config, window=6)) == 1
    assert max_start_chunks(config, StreamConfig.of(config, chunk=1, sink=1, window=12)) == 11
    assert max_start_chunks(config, StreamConfig.of(config, window=-1)) == 3


@pytest.mark.parametrize(
    ("given", "first", "last", "count"),
    [(1, 0, 0, 9), (5, 0, 4, 9), (9, 0, 8, 9), (20, 11, 19, 9), (21, 0, 20, 21), (40, 7, 39, 33)],
)
def test_pictures_fill_whole_chunks_from_the_end(
    tiny_models: ModelBundle, given: int, first: int, last: int, count: int
) -> None:
    numbers = np.broadcast_to(np.arange(given, dtype=np.uint8)[:, None, None, None], (given, 2, 2, 3))
    filled = fill_chunks(numbers, tiny_models.config, StreamConfig.of(tiny_models.config))[:, 0, 0, 0]
    assert len(filled) == count and (filled[0], filled[-1]) == (first, last)
    repeated = max(0, count - given)
    assert (filled[: repeated + 1] == first).all() and (np.diff(filled[repeated:].astype(int)) == 1).all()


@pytest.mark.parametrize(("given", "num_chunks"), [(1, 1), (25, 2), (60, 3)])
def test_the_first_chunks_are_the_encoded_pictures_and_the_next_goes_on_from_them(
    tiny_models: ModelBundle, given: int, num_chunks: int
) -> None:
    pictures = clip(given)
    session = Session(tiny_models, RED, seed=7, start=pictures)
    made = advance(session, num_chunks + 1)
    filled = fill_chunks(pictures, tiny_models.config, session.stream)
    first = torch.cat([chunk.latents for chunk in made[:-1]], 1)
    assert torch.equal(first, encoded(tiny_models, filled))
    assert [chunk.first_latent for chunk in made] == [3 * index for index in range(num_chunks + 1)]
    again, other = (
        Session(tiny_models, RED, seed=7, start=first),
        Session(tiny_models, RED, seed=8, start=first),
    )
    assert advance(again, num_chunks + 1)[-1].digest == made[-1].digest
    assert advance(other, num_chunks + 1)[-1].digest != made[-1].digest, "the seed makes what follows"
    assert session.digests[:-1] == other.digests[:-1]
    changed = Session(tiny_models, RED, seed=7, start=255 - pictures)
    assert advance(changed, num_chunks + 1)[-1].digest != made[-1].digest, "what follows depends on the start"


def test_nothing_is_denoised_for_the_pictures_and_each_is_remembered_under_the_prompt(
    tiny_models: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []

    def count(*arguments: Any, start: int, **options: Any) -> Tensor:
        calls.append(("denoise", start))
        return denoise_chunk(*arguments, start=start, **options)

    remember = tiny_models.transformer.remember

    def note(clean: Tensor, label: float, prompt: Any, cache: Any, *, start: int) -> None:
        calls.append((f"remember at {label:g}", start))
        remember(clean, label, prompt, cache, start=start)

    monkeypatch.setattr("longlive.generation.latent_stream.denoise_chunk", count)
    monkeypatch.setattr(tiny_models.transformer, "remember", note)
    advance(Session(tiny_models, RED, start=clip(21)), 3)
    assert calls == [
        ("remember at 0", 0),
        ("remember at 0", 3),
        ("denoise", 6),
    ]


def test_the_pictures_are_decoded_and_counted_like_any_others(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED, start=clip(25))
    chunks = [session.next_chunk() for _ in range(3)]
    assert [(chunk.first_frame, len(chunk.frames)) for chunk in chunks] == [(0, 9), (9, 12), (21, 12)]
    assert session.seconds == 33 / 16
    whole = Session(tiny_models, RED, start=clip(25))
    latents = torch.cat([chunk.latents for chunk in advance(whole, 3)], 1)
    pictures = to_uint8(StreamingDecoder(tiny_models.decoder, 16).decode_latents(latents)[0])
    assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), pictures)


@pytest.mark.parametrize("mode", ["soft", "keep", "hard"])
def test_a_prompt_may_come_before_all_pictures_were_shown(tiny_models: ModelBundle, mode: SwitchMode) -> None:
    """A cut leaves the rest of them out."""
    pictures = clip(33)
    session = Session(tiny_models, RED, seed=7, start=pictures)
    expected = encoded(tiny_models, pictures).split(3, dim=1)
    advance(session, 1)
    session.set_prompt(BLUE, mode)
    second, third = advance(session, 2)
    assert (second.prompt, second.first_latent) == (BLUE, 0 if mode == "hard" else 3)
    are_given = torch.equal(second.latents, expected[1]), torch.equal(third.latents, expected[2])
    assert are_given == ((False, False) if mode == "hard" else (True, True))


def test_a_failure_between_picture_and_clean_pass_repeats_nothing(
    tiny_models: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, right = (Session(tiny_models, RED, seed=7, start=clip(1)) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(tiny_models.transformer, "remember", None)
        advance(session, 1)
        with pytest.raises(TypeError):
            session.next_latents()
    advance(session, 2)
    advance(right, 3)
    assert session.digests == right.digests


def kept_session(models: ModelBundle, num_chunks: int, **options: Any) -> tuple[Session, list[Tensor]]:
    """A session that began with 25 pictures and switched prompts, and its latents."""
    session = Session(models, RED, seed=7, start=clip(25), **options)
    latents = []
    for index in range(num_chunks):
        if index in (1, 4):
            session.set_prompt(BLUE if index == 1 else STAR, "soft")
        latents.append(session.next_latents().latents)
    return session, latents


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("num_chunks", [0, 1, 2, 3, 6, 9])
def test_it_is_resumed_within_the_pictures_and_after_them(
    tiny_models: ModelBundle, num_chunks: int, exact: bool
) -> None:
    session, latents = kept_session(tiny_models, num_chunks)
    resumed = Session.resume(tiny_models, session.record(), latents, exact=exact)
    if not exact and resumed.prompts != session.prompts:  # long after the last switch: one is repeated
        session.set_prompt(session.prompts[-1].text, "soft")
    for _ in range(3):
        assert torch.equal(resumed.next_latents().latents, session.next_latents().latents)
    assert resumed.record() == session.record()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_session_file_replays_it(tiny_folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    models = load_models(tiny_folder, dtype=dtype)
    session, _ = kept_session(models, 6)
    session.save(tmp_path / "s.json")
    loaded = Session.load(models, tmp_path / "s.json")
    assert loaded.digests == session.digests
    assert loaded.record() == session.record() == SessionRecord.read(tmp_path / "s.json")


def test_a_file_without_pictures_is_as_it_was(tiny_models: ModelBundle, tmp_path: Path) -> None:
    Session(tiny_models, RED).save(tmp_path / "s.json")
    assert "start" not in json.loads((tmp_path / "s.json").read_text())
    assert SessionRecord.read(tmp_path / "s.json").start is None


def test_what_is_kept_of_the_pictures_is_small(tiny_models: ModelBundle) -> None:
    latents = start_latents(tiny_models, clip(33), StreamConfig.of(tiny_models.config))
    text = pack_latents(latents)
    assert len(text) <= 1.4 * latents.nbytes
    config = tiny_models.config
    read = unpack_latents(text, config, StreamConfig.of(config))
    assert read is not None and torch.equal(read, latents)


FRAME = 4 * 4 * 6 * 2  # bytes of a latent frame of the tiny model in float16


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("", "0 bytes came"),
        ("no base64 at all!", "cannot be read"),
        (base64.b64encode(b"not compressed").decode(), "cannot be read"),
        (packed(b""), "0 bytes came"),
        (packed(bytes(FRAME)), "a chunk has 576"),
        (packed(bytes(3 * FRAME + 2)), "a chunk has 576"),
        (packed(bytes(12 * FRAME)), "at most 1728 are read"),
        (packed(bytes(300_000_000)), "at most 1728 are read"),
        (packed(bytes(3 * FRAME))[:-8], "0 bytes|cannot be read|a chunk has 576"),
        (packed(b"\x00\x7e" * (3 * FRAME // 2)), "not numbers"),
        (7, "start must be text"),
    ],
)
def test_a_file_whose_pictures_are_damaged_or_hostile_is_refused_in_words(
    tiny_models: ModelBundle, tmp_path: Path, start: Any, words: str
) -> None:
    session, _ = kept_session(tiny_models, 2)
    session.save(tmp_path / "s.json")
    values = json.loads((tmp_path / "s.json").read_text()) | {"start": start}
    (tmp_path / "s.json").write_text(json.dumps(values))
    with pytest.raises(SessionFileError, match=words):
        Session.load(tiny_models, tmp_path / "s.json")


def test_pictures_of_another_session_are_noticed(tiny_models: ModelBundle, tmp_path: Path) -> None:
    session, _ = kept_session(tiny_models, 2)
    other = Session(tiny_models, RED, start=clip(25, seed=1)).record().start
    replace(session.record(), start=other).write(tmp_path / "s.json")
    with pytest.raises(SessionFileError, match=r"Chunk 0 .*comes out different"):
        Session.load(tiny_models, tmp_path / "s.json")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (np.zeros((1, 32, 48, 3), np.float32), "pictures must be uint8"),
        (np.zeros((32, 48, 3), np.uint8), "pictures must be uint8"),
        (np.zeros((1, 48, 32, 3), np.uint8), r"\(N, 32, 48, 3\)"),
        (np.zeros((0, 32, 48, 3), np.uint8), "pictures must be uint8"),
        (torch.zeros(1, 2, 4, 4, 6), "multiple of 3"),
        (torch.zeros(1, 3, 4, 6, 4), "latents must be"),
        (torch.zeros(3, 4, 4, 6), "latents must be"),
        (torch.zeros(1, 0, 4, 4, 6), "1 to 3 chunks"),
        (torch.zeros(1, 12, 4, 4, 6), "1 to 3 chunks"),
        (torch.full((1, 3, 4, 4, 6), torch.nan), "must be numbers"),
        (torch.full((1, 3, 4, 4, 6), 1e6), "must be numbers"),
    ],
)
def test_what_cannot_be_begun_with_is_refused_in_words(
    tiny_models: ModelBundle, start: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Session(tiny_models, RED, start=start)


def test_a_file_can_be_given_and_is_cut_to_the_models_size(tiny_models: ModelBundle, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(clip(1)[0]).resize((200, 100)).save(path)
    pictures = read_start(path, tiny_models.config)
    assert pictures.shape == (1, 32, 48, 3)
    given, read = Session(tiny_models, RED, start=str(path)), Session(tiny_models, RED, start=pictures)
    assert given.next_latents().digest == read.next_latents().digest
    path.write_text("no picture")
    with pytest.raises(MediaError, match="no picture or video"):
        Session(tiny_models, RED, start=path)
