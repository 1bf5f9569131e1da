"""A picture that a person chooses on the page, and the video that begins with it."""

import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from longlive import load_models
from longlive.serving.executors.model_runner import ModelRunner
from longlive.storybook.world.drawing import Scene
from tests.browser.conftest import Viewer
from tests.support.drawn_scenes import draw
from tests.support.fakes import Served, serve_page

SCENE = Scene("desert", "cube", "green", "stand")
FIRST = """() => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [128, 80];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(document.querySelector('#player video'), 0, 0, 128, 80);
  return Array.from(context.getImageData(0, 0, 128, 80).data);
}"""


@pytest.fixture(scope="module")
def storybook() -> Iterator[Served]:
    with serve_page(
        runner=ModelRunner(load_models("storybook")), disconnect_timeout_s=2, retention_s=2
    ) as page:
        yield page


def drawn() -> np.ndarray:
    return draw(SCENE, 1)[0].permute(1, 2, 0).numpy()


def picture(size: tuple[int, int] = (640, 400)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawn()).resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()


def choose(page: Page, content: bytes, name: str, kind: str) -> None:
    file = {"name": name, "mimeType": kind, "buffer": content}
    page.set_input_files("#start-from input", files=[file])  # type: ignore[list-item]
    page.wait_for_function("!document.querySelector('#start-from .note').textContent.startsWith('Reading')")


def seen(viewer: Viewer) -> np.ndarray:
    """The picture on the screen, (80, 128, 3)."""
    return np.array(viewer.page.evaluate(FIRST), np.uint8).reshape(80, 128, 4)[..., :3]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.slow
def test_a_chosen_picture_is_shown_and_the_video_begins_with_it(
    visit: Callable[..., Viewer], storybook: Served
) -> None:
    viewer = visit(served=storybook)
    choose(viewer.page, picture(), "my desert.png", "image/png")
    assert viewer.text("#start-from .name") == "my desert.png"
    assert viewer.page.evaluate("document.querySelector('#start-from img').naturalWidth") == 96
    viewer.start("a green cube stands in the desert")
    assert difference(seen(viewer), drawn()) < 12
    viewer.page.click("#stop")
    viewer.wait("data.state === 'ended' || data.take")
    viewer.page.click("#start-from .remove")
    assert not viewer.page.is_visible("#start-from .chosen") and viewer.page.is_visible("#start-from .choose")
    viewer.start("a red ball stands in the snow")
    viewer.wait("data.frame >= 0 && data.state === 'playing'")
    assert difference(seen(viewer), drawn()) > 40, "without the file, it begins with the prompt"
    assert not viewer.errors


@pytest.mark.slow
def test_the_last_picture_of_a_large_video_is_taken_and_that_is_said(
    visit: Callable[..., Viewer], storybook: Served, tmp_path: Path
) -> None:
    (tmp_path / "p.png").write_bytes(picture())
    clip = tmp_path / "clip.webm"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-loop", "1", "-i", tmp_path / "p.png"]
    subprocess.run([*command, "-frames:v", "24", "-c:v", "libvpx", "-b:v", "4M", clip], check=True)
    large = clip.read_bytes() + b"\xec\x01" + (4_000_000).to_bytes(7, "big") + bytes(4_000_000)  # a void
    viewer = visit(served=storybook)
    choose(viewer.page, large, "clip.webm", "video/webm")
    assert "only its last picture is used" in viewer.text("#start-from .note")
    viewer.start("a green cube stands in the desert")
    assert difference(seen(viewer), drawn()) < 14
    assert not viewer.errors


def test_what_cannot_be_begun_with_is_told_and_nothing_breaks(
    visit: Callable[..., Viewer], storybook: Served
) -> None:
    viewer = visit(served=storybook)
    choose(viewer.page, b"no picture" * 400_000, "large.png", "image/png")
    assert "at most 3 MB" in viewer.text("#start-from .note")
    assert viewer.page.is_visible("#start-from .choose")
    choose(viewer.page, b"I am no picture.", "holiday.png", "image/png")
    viewer.write("a green cube stands in the desert")
    viewer.page.click("#start")
    viewer.page.wait_for_selector(".toast-body")
    assert "no picture or video of a known format" in viewer.text(".toast-body")
    assert viewer.data["state"] == "idle"
    viewer.page.click("#start-from .remove")
    viewer.start("a green cube stands in the desert")
    assert not viewer.errors


def test_it_works_by_keyboard_and_fits_a_phone(visit: Callable[..., Viewer], storybook: Served) -> None:
    viewer = visit(served=storybook, viewport={"width": 390, "height": 800})
    choose(viewer.page, picture(), "a long name of a picture that nobody reads to its end.png", "image/png")
    assert viewer.overflow() <= 0
    viewer.page.focus("#start-from .remove")
    viewer.page.keyboard.press("Enter")
    assert viewer.page.evaluate("document.activeElement.matches('#start-from input')")
    viewer.page.evaluate("document.activeElement.onclick = () => { window.asked = true; return false; }")
    viewer.page.keyboard.press("Space")
    viewer.page.wait_for_function("window.asked")
