"""One measurement of a system: seconds by stage, pictures that came out, and what follows from them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longlive.chunks import FrameChunk
from longlive.config import EncoderName
from longlive.media.segments import SegmentEncoder

STAGES = ("text", "denoise", "decode", "encode", "other")

DEFINITIONS = {
    "stages_s": "Seconds of one video (engine: of the measured part of one). text: reading the prompts. "
    "denoise: the transformer, its clean passes included. decode: latents to pictures. encode: pictures to "
    "H.264 in memory. other: the rest (schedulers, guidance, moving data). None: not measured.",
    "fps.denoise, fps.decode, fps.encode": "Pictures by the seconds of that stage alone.",
    "fps.denoise_decode": "Pictures by denoise, decode and other: without text and H.264.",
    "fps.end_to_end": "Pictures by all stages. Random pictures are harder to encode than real ones.",
    "pictures": "Counted as they came out, not as they were asked for.",
    "engine": "Systems in our engine stream: measured once the window is full, over the asked length, "
    "without "
    "a prompt switch. Text is read once, so it is not part of their end to end; with random weights there is "
    "no text encoder, and text is None.",
    "extrapolated": "Whether fewer steps ran than are published. Steps cost the same, so one video is "
    "text + steps x (denoise + other) / steps_measured + decode + encode.",
    "ratio": "fps.end_to_end by LongLive's of the same turn: median, least and most over the turns.",
    "paper_fps": "From the paper's Table 1, measured by its authors on one H100; not measured here.",
    "counted": "TFLOP at the published size, whatever size ran: matrix products and convolutions, one "
    "multiplication and one addition each; decoding included in tflop_picture.",
    "random_weights": "Times of random weights are those of real ones; their pictures are noise.",
}


@dataclass(frozen=True)
class Measurement:
    """One video of a system.

    Attributes:
        seconds: by the names of STAGES, of what ran; None where a stage was not measured.
        pictures: that came out.
        height, width: of a picture, in pixels.
        steps, steps_measured: denoising steps of a published video, and those that ran.
        text_counts: whether text is part of every video's end to end (not of a stream's).
    """

    seconds: dict[str, float | None]
    pictures: int
    height: int
    width: int
    steps: int
    steps_measured: int
    text_counts: bool = True

    @property
    def is_extrapolated(self) -> bool:
        """Whether the stages of a whole video follow from fewer steps."""
        return self.steps != self.steps_measured

    def whole_video(self) -> dict[str, float | None]:
        """Seconds by stage of a whole video, and ``end_to_end``, their sum."""
        factor = self.steps / self.steps_measured
        whole = {
            name: None if value is None else value * (factor if name in ("denoise", "other") else 1)
            for name, value in ((name, self.seconds.get(name)) for name in STAGES)
        }
        counted = [value for name, value in whole.items() if name != "text" or self.text_counts]
        return whole | {"end_to_end": sum(value for value in counted if value is not None)}

    def fps(self) -> dict[str, float | None]:
        """Pictures per second by definition; None where a stage was not measured."""
        whole = self.whole_video()
        spans = {name: (name,) for name in ("denoise", "decode", "encode", "end_to_end")}
        spans["denoise_decode"] = ("denoise", "decode", "other")  # type: ignore[assignment]
        return {name: self._rate([whole[part] for part in parts]) for name, parts in spans.items()}

    def _rate(self, parts: Sequence[float | None]) -> float | None:
        spent = sum(part for part in parts if part is not None)
        return self.pictures / spent if spent > 0 else None


def encode_seconds(frames: np.ndarray, fps: int, encoder: EncoderName = "x264") -> float:
    """Seconds to encode pictures, uint8 (F, H, W, 3), to H.264 in memory."""
    begun = time.perf_counter()
    SegmentEncoder(encoder=encoder).encode(FrameChunk(0, 0, "", 0, frames, fps))
    return time.perf_counter() - begun
