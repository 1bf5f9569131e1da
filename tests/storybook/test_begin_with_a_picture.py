"""The embedded model goes on from a drawn scene: a picture file, or the end of a video file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longlive import ModelBundle, Session, load_models
from longlive.chunks import FrameChunk
from longlive.media.mp4 import write_video
from longlive.storybook.world.drawing import Scene
from longlive.storybook.world.oracle import Reading, read
from tests.support.drawn_scenes import draw


@pytest.fixture(scope="module")
def models() -> ModelBundle:
    return load_models("storybook")


def drawn(scene: Scene, num_frames: int) -> np.ndarray:
    return draw(scene, num_frames).permute(0, 2, 3, 1).contiguous().numpy()


def write_clip(path: Path, pictures: np.ndarray) -> Path:
    chunks = [FrameChunk(0, 0, "drawn", 0, pictures, 16)]
    return write_video(path, chunks, 3)


def psnr(made: np.ndarray, right: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(made.astype(float) - right).mean()))


def made(session: Session, num_chunks: int) -> np.ndarray:
    return np.concatenate([session.next_chunk().frames for _ in range(num_chunks)])


def reading(pictures: np.ndarray) -> Reading:
    return read(torch.from_numpy(pictures).permute(0, 3, 1, 2))


STILL = [
    (Scene("desert", "cube", "green", "stand"), "a green cube stands in the desert"),
    (Scene("snow", "cat", "purple", "stand"), "the purple cat stands in the snow"),
]


@pytest.mark.parametrize(("scene", "prompt"), STILL, ids=["cube", "cat"])
def test_a_picture_comes_alive(models: ModelBundle, tmp_path: Path, scene: Scene, prompt: str) -> None:
    picture = drawn(scene, 1)[0]
    wide = Image.fromarray(picture).resize((640, 400), Image.Resampling.LANCZOS)
    wide.save(tmp_path / "scene.png")
    session = Session(models, prompt, seed=7, start=tmp_path / "scene.png")
    first = made(session, 1)
    assert len(first) == 9 and min(psnr(one, picture) for one in first) > 28.0
    found = reading(made(session, 6)[-48:])
    assert (found.setting, found.shape, found.colour) == (scene.setting, scene.shape, scene.colour)
    assert found.has_one_subject and found.action == "stand"


WALKS = [
    (Scene("meadow", "cube", "red", "right"), "the red cube walks right on a green meadow"),
    (Scene("beach", "ball", "red", "left"), "the red ball walks left at the beach"),
]


@pytest.mark.parametrize(("scene", "prompt"), WALKS, ids=["cube", "ball"])
def test_the_subject_of_a_picture_does_what_the_prompt_says(
    models: ModelBundle, tmp_path: Path, scene: Scene, prompt: str
) -> None:
    """Walks, which the model obeys; jumps it often turns into pulsing: see longlive/evaluation/README.md."""
    Image.fromarray(drawn(dataclasses.replace(scene, action="stand"), 1)[0]).save(tmp_path / "scene.png")
    found = reading(made(Session(models, prompt, seed=7, start=tmp_path / "scene.png"), 8)[-60:])
    assert (found.setting, found.shape, found.colour, found.action) == (
        scene.setting,
        scene.shape,
        scene.colour,
        scene.action,
    )


def test_a_video_goes_on_where_it_ends(models: ModelBundle, tmp_path: Path) -> None:
    scene = Scene("night", "star", "yellow", "right")
    pictures = drawn(scene, 75)
    path = write_clip(tmp_path / "scene.mp4", pictures)
    session = Session(models, "the yellow star walks right in a night forest", seed=7, start=path)
    given, after = made(session, 3), made(session, 5)
    assert len(given) == 33 and psnr(given, pictures[-33:]) > 25.0
    found = reading(after[-48:])
    assert (found.setting, found.shape, found.colour, found.action) == ("night", "star", "yellow", "right")
    step = np.abs(after[0].astype(int) - given[-1]).mean()
    usual = np.abs(np.diff(given[-12:].astype(int), axis=0)).mean((1, 2, 3)).max()
    assert step < 2 * usual, "there is no jump where the given pictures end"


def test_the_session_file_of_the_embedded_model_stays_small(models: ModelBundle, tmp_path: Path) -> None:
    Image.fromarray(drawn(Scene("beach", "ball", "red", "stand"), 1)[0]).save(tmp_path / "scene.png")
    session = Session(models, "a red ball at the beach", start=tmp_path / "scene.png")
    made(session, 2)
    session.save(tmp_path / "session.json")
    assert 20_000 < (tmp_path / "session.json").stat().st_size < 60_000
    assert Session.load(models, tmp_path / "session.json").digests == session.digests
