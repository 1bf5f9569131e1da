"""Files that people have, good and bad, as pictures of the model's size."""

import io
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from longlive.errors import MediaError
from longlive.media import picture_reader
from longlive.media.picture_reader import Target, read_pictures

TARGET = Target(width=48, height=32, fps=16, most=33)
RED, BLUE, GREEN = (200, 30, 20), (20, 40, 210), (30, 180, 40)


def stripes(width: int, height: int) -> Image.Image:
    """Red at the left, blue at the right, a green square in the middle of the upper edge."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, BLUE
    pixels[: height // 3, width // 3 : 2 * width // 3] = GREEN
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def near(pixel: np.ndarray, colour: tuple[int, ...], tolerance: int = 25) -> bool:
    return bool((abs(pixel.astype(int) - colour) <= tolerance).all())


def write_clip(path: Path, num_frames: int, fps: int = 16, size: tuple[int, int] = (48, 32)) -> Path:
    """A video whose picture n has the grey 4 n, above a blue ground."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for number in range(num_frames):
            picture = np.full((size[1], size[0], 3), min(4 * number, 255), np.uint8)
            picture[size[1] // 2 :] = BLUE
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def greys(pictures: np.ndarray) -> np.ndarray:
    return pictures[:, :8].mean((1, 2, 3))


def ffmpeg(*arguments: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, arguments)]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_becomes_one_picture_of_the_models_size(kind: str) -> None:
    pictures = read_pictures(encoded(stripes(480, 320), kind), TARGET)
    assert pictures.shape == (1, 32, 48, 3) and pictures.dtype == np.uint8
    assert near(pictures[0, 25, 4], RED) and near(pictures[0, 25, 43], BLUE)
    assert near(pictures[0, 3, 24], GREEN)


@pytest.mark.parametrize("size", [(960, 320), (480, 1000), (49, 31), (30, 19)])
def test_the_middle_of_another_shape_is_cut_out(size: tuple[int, int]) -> None:
    width, height = size
    picture = read_pictures(encoded(stripes(width, height), "PNG"), TARGET)[0]
    assert near(picture[28, 6], RED) and near(picture[28, 41], BLUE)
    edge = int(np.argmax(picture[28, :, 2].astype(int) - picture[28, :, 0] > 0))
    assert abs(edge - 24) <= 2, "the middle stays in the middle, and is not squeezed"


def test_a_picture_of_a_single_pixel_and_one_that_is_hardly_wide_are_read() -> None:
    for size in ((1, 1), (1, 3000), (3000, 1)):
        picture = read_pictures(encoded(Image.new("RGB", size, RED), "PNG"), TARGET)
        assert near(picture[0, 16, 24], RED, 1)


def test_a_photo_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    lying = stripes(480, 320).rotate(90, expand=True)
    picture = read_pictures(encoded(lying, "JPEG", exif=exif, quality=95), TARGET)[0]
    assert near(picture[25, 4], RED) and near(picture[25, 43], BLUE) and near(picture[3, 24], GREEN)


def test_what_is_transparent_becomes_white() -> None:
    image = stripes(480, 320).convert("RGBA")
    alpha = np.full((320, 480), 255, np.uint8)
    alpha[:, :240] = 0
    image.putalpha(Image.fromarray(alpha))
    picture = read_pictures(encoded(image, "PNG"), TARGET)[0]
    assert near(picture[25, 4], (255, 255, 255), 1) and near(picture[25, 43], BLUE, 1)
    palette = stripes(480, 320).quantize(8)
    picture = read_pictures(encoded(palette, "PNG", transparency=palette.getpixel((10, 300))), TARGET)[0]
    assert near(picture[25, 4], (255, 255, 255), 1) and near(picture[25, 43], BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_other_kinds_of_pixels_are_converted(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((32, 48), 128 * 256 + 7, np.uint16))
    else:
        image = Image.new("RGB", (48, 32), (128, 128, 128)).convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = read_pictures(encoded(image, kind), TARGET)[0]
    assert abs(picture.mean() - 128) < (2 if mode != "1" else 40)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_a_video_gives_its_last_pictures_in_order(tmp_path: Path, suffix: str) -> None:
    pictures = read_pictures(write_clip(tmp_path / f"clip{suffix}", 50), TARGET)
    assert pictures.shape == (33, 32, 48, 3)
    assert np.allclose(greys(pictures), np.arange(17, 50) * 4, atol=6)


def test_a_short_video_gives_what_it_has(tmp_path: Path) -> None:
    pictures = read_pictures(write_clip(tmp_path / "clip.mp4", 5), TARGET)
    assert np.allclose(greys(pictures), np.arange(5) * 4, atol=6)


def test_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    frames = [Image.new("L", (48, 32), 4 * number) for number in range(0, 60, 4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=250)
    pictures = read_pictures(tmp_path / "a.gif", TARGET)
    assert len(pictures) == 33  # each of its pictures is shown for four
    assert np.allclose(greys(pictures), np.arange(27, 60) // 4 * 16, atol=2)


@pytest.mark.parametrize(("fps", "num_frames"), [(4, 12), (60, 150), (1, 3)])
def test_another_rate_is_brought_to_the_models(tmp_path: Path, fps: int, num_frames: int) -> None:
    pictures = read_pictures(write_clip(tmp_path / "clip.mp4", num_frames, fps), TARGET)
    assert len(pictures) == 33
    seconds = num_frames / fps - (32 - np.arange(33)) / 16 - 1 / 32
    expected = np.minimum(np.floor(seconds * fps), num_frames - 1) * 4
    assert np.abs(greys(pictures) - np.minimum(expected, 255)).max() <= 4 * max(1, fps / 16) + 6


def test_a_video_of_a_phone_is_turned_and_pixels_are_made_square(tmp_path: Path) -> None:
    stripes(480, 320).save(tmp_path / "picture.png")
    upright = tmp_path / "upright.mp4"
    ffmpeg("-loop", 1, "-i", tmp_path / "picture.png", "-frames:v", 4, "-pix_fmt", "yuv420p", upright)
    ffmpeg("-display_rotation", 90, "-i", upright, "-c", "copy", tmp_path / "turned.mp4")
    tall = Target(width=32, height=48, fps=16, most=33)
    picture = read_pictures(tmp_path / "turned.mp4", tall)[0]
    turned = np.rot90(read_pictures(upright, TARGET)[0])
    assert np.abs(picture.astype(int) - turned).mean() < 3
    narrow = tmp_path / "narrow.mp4"
    ffmpeg("-i", upright, "-vf", "scale=240:320,setsar=2/1", narrow)
    picture = read_pictures(narrow, TARGET)[0]
    assert np.abs(picture.astype(int) - read_pictures(upright, TARGET)[0]).mean() < 4


def test_of_a_long_video_only_the_end_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    source = "color=size=64x48:rate=25:duration=1200"
    ffmpeg("-f", "lavfi", "-i", source, "-preset", "ultrafast", "-crf", 45, path)
    begun = time.process_time()
    assert len(read_pictures(path, TARGET)) == 33
    assert time.process_time() - begun < 5


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"This is only called a picture.\n" * 99, "no picture or video of a known format"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "no picture or video of a known format"),
    "concat": (b"ffconcat version 1.0\nfile /etc/passwd\n", "no picture or video of a known format"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture or video of a known format"),
    "pdf": (b"%PDF-1.7\n" + bytes(99), "no picture or video of a known format"),
    "zip": (b"PK\x03\x04" + bytes(99), "no picture or video of a known format"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC or AVIF.*Save it as JPEG"),
    "only its first bytes are a PNG's": (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "cannot be read"),
    "only its first bytes are a JPEG's": (b"\xff\xd8\xff" + b"x" * 99, "cannot be read"),
    "only its first bytes are a video's": (b"\0\0\0\x18ftypmp42" + b"x" * 999, "cannot be read"),
    "only its first bytes are Matroska's": (b"\x1aE\xdf\xa3" + b"x" * 999, "cannot be read"),
    "cut off": (encoded(stripes(480, 320), "PNG")[:300], "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_told_in_words(tmp_path: Path, name: str) -> None:
    data, words = BAD[name]
    (tmp_path / "holiday.png").write_bytes(data)
    with pytest.raises(MediaError, match=words) as caught:
        read_pictures(tmp_path / "holiday.png", TARGET)
    assert ("holiday.png" in str(caught.value) and "Give" in str(caught.value)) or "Save it" in str(
        caught.value
    )
    with pytest.raises(MediaError, match=f"The file.*{words}"):
        read_pictures(data, TARGET)


def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no file .*gone\.png"):
        read_pictures(tmp_path / "gone.png", TARGET)
    with pytest.raises(MediaError, match="Is a directory"):
        read_pictures(tmp_path, TARGET)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is large, and is."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(1000), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 10_000), (6_000, 5_000), (60_000, 60_000)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(MediaError, match=r"more than (25|50) million pixels.*Make it smaller"):
        read_pictures(bomb(*size), TARGET)


def test_a_large_photo_is_decoded_at_a_part_of_its_size() -> None:
    photo = encoded(stripes(6000, 4000), "JPEG")
    begun = time.process_time()
    picture = read_pictures(photo, TARGET)[0]
    assert time.process_time() - begun < 1.0
    assert near(picture[25, 4], RED) and near(picture[25, 43], BLUE)


def test_a_video_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 2, size=(4096, 2304))
    with pytest.raises(MediaError, match="more than 9 million pixels"):
        read_pictures(path, TARGET)


def test_a_video_of_an_unusual_kind_is_refused(tmp_path: Path) -> None:
    """No decoder but those of common videos reads what strangers send."""
    write_clip(tmp_path / "clip.mp4", 4)
    ffmpeg("-i", tmp_path / "clip.mp4", "-c:v", "cinepak", tmp_path / "old.avi")
    with pytest.raises(MediaError, match="of a kind that cannot be decoded"):
        read_pictures(tmp_path / "old.avi", TARGET)


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[Path]:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "sound.mp4")
    yield tmp_path / "sound.mp4"


def test_a_file_with_sound_alone_is_refused(sound: Path) -> None:
    with pytest.raises(MediaError, match="only sound"):
        read_pictures(sound, TARGET)


def test_a_video_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4", 50)
    monkeypatch.setattr(picture_reader, "MAX_READ_S", -1.0)
    with pytest.raises(MediaError, match=r"takes too long.*last seconds"):
        read_pictures(path, TARGET)


def test_a_video_whose_end_is_missing_gives_what_there_is(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 60)
    data = path.read_bytes()
    pictures = read_pictures(data[: len(data) * 2 // 3], TARGET)
    assert 1 <= len(pictures) <= 33


def test_a_damaged_file_never_fails_in_another_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = [write_clip(tmp_path / f"clip{end}", 20).read_bytes() for end in (".mp4", ".mkv", ".avi")]
    sources += [encoded(stripes(60, 40), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]
    for source in sources:
        for _ in range(25):
            data = np.frombuffer(source, np.uint8).copy()
            places = rng.integers(4, len(data), 1 + rng.integers(30))
            data[places] = rng.integers(0, 256, len(places))
            try:
                assert read_pictures(data[: rng.integers(20, len(data) + 1)].tobytes(), TARGET).shape[1:] == (
                    32, 48, 3,
                )  # fmt: skip
            except MediaError as error:
                assert "Give" in str(error) or "smaller" in str(error) or "Save it" in str(error)
