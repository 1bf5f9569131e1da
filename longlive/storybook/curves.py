"""Learning curves of a training folder as one picture, for the recipe's README."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = (880, 260)
MARGIN = 44
CURVES = (
    ("codec", "psnr", "codec, dB"),
    ("decoder", "psnr", "decoder, dB"),
    ("generator", "loss", "generator, loss"),
)


def draw_curves(folder: Path, target: Path) -> None:
    """Draw the logs ``codec.jsonl``, ``decoder.jsonl`` and ``generator.jsonl`` side by side into a PNG."""
    found = [(title, _read(folder / f"{stage}.jsonl", key)) for stage, key, title in CURVES]
    found = [(title, points) for title, points in found if points]
    width = SIZE[0] // max(1, len(found))
    picture = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(picture)
    for index, (title, points) in enumerate(found):
        _draw(pen, title, points, index * width, width)
    picture.save(target)


def _read(path: Path, key: str) -> list[tuple[int, float]]:
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted({row["step"]: row[key] for row in rows}.items())


def _draw(
    pen: ImageDraw.ImageDraw, title: str, points: list[tuple[int, float]], left: int, width: int
) -> None:
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    right, top, bottom = left + width - 12, 28, SIZE[1] - 28
    left += MARGIN

    def place(step: int, value: float) -> tuple[float, float]:
        x = left + (right - left) * step / steps[-1]
        return x, bottom - (bottom - top) * (value - low) / ((high - low) or 1)

    pen.rectangle((left, top, right, bottom), outline="#cccccc")
    pen.line([place(*point) for point in points], fill="#c2410c", width=2)
    pen.text((left, 8), title, fill="black")
    for value in (low, high):
        pen.text((left - MARGIN + 4, place(0, value)[1] - 6), f"{value:.3g}", fill="#555555")
    pen.text((right - 70, bottom + 8), f"{steps[-1]} steps", fill="#555555")
