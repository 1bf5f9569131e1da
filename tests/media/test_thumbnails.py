"""Thumbnails: small pictures that look like the ones that they stand for."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from longlive.media.thumbnails import MIME, WIDTH, encode_thumbnail, thumbnail_url


def decode(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(480, 832, 55), (832, 480, 166), (64, 96, 64), (1, 500, 1), (7, 3, 224)]
)
def test_a_thumbnail_has_the_picture_s_shape(height: int, width: int, expected: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    assert decode(encode_thumbnail(picture)).shape == (expected, WIDTH, 3)


@pytest.mark.parametrize("colour", [(200, 40, 30), (30, 160, 60), (40, 60, 200), (230, 200, 40)])
def test_a_thumbnail_has_the_picture_s_colours_where_they_are(colour: tuple[int, int, int]) -> None:
    picture = np.full((160, 256, 3), 240, np.uint8)
    picture[:, :128] = colour
    small = decode(encode_thumbnail(picture)).astype(int)
    assert np.abs(small[:, 4:44].mean((0, 1)) - colour).max() < 8
    assert np.abs(small[:, 52:92].mean((0, 1)) - 240).max() < 8


def test_a_thumbnail_takes_about_a_kilobyte() -> None:
    rows, columns = np.mgrid[:480, :832]
    picture = np.stack([rows % 256, columns % 256, (rows + columns) // 8 % 256], axis=-1).astype(np.uint8)
    picture[100:300, 200:400] = (220, 30, 40)
    assert len(encode_thumbnail(picture)) < 2500


def test_the_url_holds_the_bytes_and_is_empty_without_any() -> None:
    kind, data = thumbnail_url(b"abc").split(",")
    assert kind == f"data:{MIME};base64" and base64.b64decode(data) == b"abc"
    assert thumbnail_url(b"") == ""
