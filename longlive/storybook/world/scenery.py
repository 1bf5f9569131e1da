"""The painted settings of the picture-book world: static backdrops, drawn once at four times the size."""

import numpy as np

OVERSAMPLE = 4


def paint_setting(setting: str, height: int, width: int) -> np.ndarray:
    """A backdrop: float32 (3, height, width) in [0, 1].

    Args:
        setting: meadow, beach, desert, night or snow.
        height, width: in pixels.
    """
    canvas = Canvas(height, width)
    _PAINTERS[setting](canvas)
    return canvas.picture()


class Canvas:
    """A picture under the brush. Coordinates are in units of the picture's height: x to the right, y down."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        rows, columns = height * OVERSAMPLE, width * OVERSAMPLE
        self.y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / rows
        self.x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5) / rows
        self.right = columns / rows
        self._paint: np.ndarray = np.zeros((3, rows, columns), dtype=np.float32)

    def gradient(self, top: str, bottom: str, start: float = 0.0, end: float = 1.0) -> None:
        """Fill everything with a vertical gradient between two heights."""
        weight = np.clip((self.y - start) / (end - start), 0, 1)[None]
        self._paint[:] = _rgb(top) * (1 - weight) + _rgb(bottom) * weight

    def fill(self, mask: np.ndarray, colour: str, bottom: str | None = None) -> None:
        """Fill where ``mask``; with ``bottom``, as a gradient down to that colour."""
        paint = _rgb(colour) * np.ones_like(self._paint)
        if bottom is not None:
            weight = np.clip((self.y - 0.55) / 0.45, 0, 1)[None]
            paint = _rgb(colour) * (1 - weight) + _rgb(bottom) * weight * np.ones_like(self._paint)
        self._paint = np.where(mask[None], paint, self._paint).astype(np.float32)

    def disc(self, x: float, y: float, radius: float, colour: str, flat: float = 1.0) -> None:
        """A filled disc, or an ellipse ``flat`` times as high as wide."""
        self.fill((self.x - x) ** 2 + ((self.y - y) / flat) ** 2 < radius**2, colour)

    def hills(
        self, base: float, swing: float, waves: float, phase: float, colour: str, bottom: str | None = None
    ) -> None:
        """Rolling ground below a wave that meets itself at the picture's sides."""
        edge = base + swing * np.sin(2 * np.pi * (waves * self.x / self.right + phase))
        self.fill(self.y > edge, colour, bottom)

    def triangle(self, x: float, top: float, half_width: float, foot: float, colour: str) -> None:
        """An upright triangle."""
        slope = half_width / (foot - top)
        self.fill((self.y > top) & (self.y < foot) & (np.abs(self.x - x) < (self.y - top) * slope), colour)

    def bar(self, x: float, half_width: float, top: float, foot: float, colour: str) -> None:
        """An upright bar."""
        self.fill((np.abs(self.x - x) < half_width) & (self.y > top) & (self.y < foot), colour)

    def picture(self) -> np.ndarray:
        """The finished picture, averaged down to its size."""
        height, width = self._size
        return self._paint.reshape(3, height, OVERSAMPLE, width, OVERSAMPLE).mean((2, 4)).astype(np.float32)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)], dtype=np.float32)[:, None, None]


def _meadow(canvas: Canvas) -> None:
    canvas.gradient("7cc4f2", "d8f0fb", 0, 0.6)
    canvas.disc(0.25, 0.18, 0.10, "fff2a8")
    for x, y in ((0.70, 0.20), (1.25, 0.14)):
        for dx, radius in ((-0.10, 0.055), (0, 0.075), (0.10, 0.055)):
            canvas.disc(x + dx, y, radius, "ffffff", 0.7)
    canvas.hills(0.56, 0.05, 1, 0.1, "8fcf7d")
    canvas.hills(0.66, 0.02, 2, 0.3, "a6da6c", "7dbb4e")
    for x, y in ((0.18, 0.93), (0.60, 0.96), (1.32, 0.92)):
        canvas.disc(x, y, 0.030, "ffffff")
        canvas.disc(x, y, 0.013, "f6c344")


def _beach(canvas: Canvas) -> None:
    canvas.gradient("9adcf4", "e6f8fb", 0, 0.5)
    canvas.disc(1.20, 0.17, 0.10, "fff0a0")
    canvas.fill((canvas.y > 0.46) & (canvas.x > -1), "2f9fc6")
    canvas.fill(canvas.y > 0.54, "55bdd6")
    canvas.hills(0.64, 0.012, 3, 0.0, "f2fbf8")
    canvas.hills(0.665, 0.012, 3, 0.0, "f5dfa6", "e8c883")
    trunk = 0.16
    canvas.bar(trunk, 0.018, 0.36, 0.72, "8d6440")
    for dx, dy in ((-0.10, 0.02), (0.10, 0.02), (-0.05, -0.05), (0.05, -0.05)):
        canvas.disc(trunk + dx, 0.35 + dy, 0.085, "3f9c58", 0.38)


def _desert(canvas: Canvas) -> None:
    canvas.gradient("f7b267", "fde7c0", 0, 0.62)
    canvas.disc(0.32, 0.22, 0.12, "fff4cf")
    canvas.hills(0.56, 0.07, 1, 0.55, "dc965a")
    canvas.hills(0.67, 0.03, 1, 0.2, "e9b372", "d1914f")
    cactus = 1.28
    canvas.bar(cactus, 0.030, 0.40, 0.74, "4b8b57")
    canvas.bar(cactus - 0.085, 0.020, 0.47, 0.58, "4b8b57")
    canvas.bar(cactus + 0.085, 0.020, 0.44, 0.56, "4b8b57")
    canvas.fill((np.abs(canvas.y - 0.58) < 0.02) & (np.abs(canvas.x - cactus) < 0.10), "4b8b57")


def _night(canvas: Canvas) -> None:
    canvas.gradient("131a3d", "3a4a7c", 0, 0.62)
    moon = 1.20
    canvas.disc(moon, 0.18, 0.09, "f4f0d0")
    canvas.disc(moon + 0.045, 0.16, 0.075, "1b2449")
    for x, y in ((0.15, 0.10), (0.50, 0.20), (0.72, 0.08), (0.98, 0.16), (1.40, 0.26), (0.08, 0.34)):
        canvas.disc(x, y, 0.014, "fbf7d8")
    canvas.hills(0.60, 0.02, 2, 0.2, "24305a")
    for x in (0.12, 0.36, 1.12, 1.38):
        canvas.triangle(x, 0.30, 0.13, 0.68, "1c4440")
    canvas.hills(0.67, 0.012, 2, 0.1, "2f5a55", "1f4242")


def _snow(canvas: Canvas) -> None:
    canvas.gradient("b9cfe6", "eef4fa", 0, 0.6)
    for x, top in ((0.35, 0.16), (0.95, 0.24)):
        canvas.triangle(x, top, 0.46, 0.70, "8ea6c2")
        canvas.triangle(x, top, 0.13, top + 0.15, "ffffff")
    canvas.hills(0.65, 0.02, 1, 0.4, "f9fcff", "dde8f3")
    for x in (1.22, 1.40):
        canvas.bar(x, 0.016, 0.62, 0.72, "6d5340")
        canvas.triangle(x, 0.36, 0.10, 0.65, "4f8177")
        canvas.triangle(x, 0.36, 0.045, 0.48, "ffffff")


_PAINTERS = {"meadow": _meadow, "beach": _beach, "desert": _desert, "night": _night, "snow": _snow}
