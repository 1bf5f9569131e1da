"""Learning curves of a training folder as one picture, for the README."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, ROW = 880, 220
COLUMNS = 3
MARGIN = 44
CURVES = (
    ("codec/log.jsonl", "psnr", "codec, dB"),
    ("decoder/log.jsonl", "psnr", "decoder, dB"),
    ("generator/log.jsonl", "loss", "generator, loss"),
    ("teacher/log.jsonl", "teacher_loss", "teacher, loss"),
    ("dmd/log.jsonl", "critic_loss", "dmd, critic's loss"),
    ("streaming/log.jsonl", "critic_loss", "streaming, critic's loss"),
)


def draw_curves(folder: Path, target: Path) -> None:
    """Draw the logs of those stages of the recipe that are in ``folder``, as one PNG."""
    found = [(title, _read(folder / file, key)) for file, key, title in CURVES]
    found = [(title, points) for title, points in found if points]
    picture = Image.new("RGB", (WIDTH, ROW * -(-len(found) // COLUMNS)), "white")
    pen = ImageDraw.Draw(picture)
    for index, (title, points) in enumerate(found):
        row, column = divmod(index, COLUMNS)
        _draw(pen, title, points, column * WIDTH // COLUMNS, row * ROW)
    picture.save(target)


def _read(path: Path, key: str) -> list[tuple[int, float]]:
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted({row["step"]: row[key] for row in rows if key in row}.items())


def _draw(pen: ImageDraw.ImageDraw, title: str, points: list[tuple[int, float]], left: int, top: int) -> None:
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    pen.text((left + MARGIN, top + 8), title, fill="black")
    right, bottom, top = left + WIDTH // COLUMNS - 12, top + ROW - 28, top + 28
    left += MARGIN

    def place(step: int, value: float) -> tuple[float, float]:
        x = left + (right - left) * step / steps[-1]
        return x, bottom - (bottom - top) * (value - low) / ((high - low) or 1)

    pen.rectangle((left, top, right, bottom), outline="#cccccc")
    pen.line([place(*point) for point in points], fill="#c2410c", width=2)
    for value in (low, high):
        pen.text((left - MARGIN + 4, place(0, value)[1] - 6), f"{value:.3g}", fill="#555555")
    pen.text((right - 70, bottom + 8), f"{steps[-1]} steps", fill="#555555")
