"""Which H.264 encoder writes the segments: NVENC where the device has one that opens, else x264."""

import functools
import logging
import os
from fractions import Fraction

import av
import torch
from av.video.codeccontext import VideoCodecContext

from longlive.errors import ConfigError

logger = logging.getLogger(__name__)

AUTO = "auto"
CODECS = {"nvenc": "h264_nvenc", "x264": "libx264"}
"""FFmpeg's names of the encoders."""

# No B-frames to wait for, each picture out as soon as it is in. With x264, a chunk at 832x480 took 0.13 s of
# CPU and 210 kB with superfast, 0.09 s and 350 kB with ultrafast. NVENC is still to be measured: its size and
# its time, which includes opening it for each segment.
SETTINGS = {
    "x264": {"preset": "superfast", "tune": "zerolatency", "profile": "baseline", "crf": "20", "bf": "0"},
    "nvenc": {"preset": "p4", "tune": "ll", "profile": "baseline", "rc": "constqp", "qp": "22", "bf": "0"}
    | {"delay": "0", "zerolatency": "1"},
}


_MANY_CORES = 8


def check_encoder(word: str, device: torch.device) -> None:
    """Raise ConfigError if an encoder is not to be had beside a device."""
    if word not in (AUTO, *CODECS):
        raise ConfigError("encoder", word, f"it must be one of {(AUTO, *CODECS)}", "Use 'auto'.")
    if word == "nvenc" and device.type != "cuda":
        rule = f"NVENC is part of a GPU, not of {device}"
        raise ConfigError("encoder", word, rule, "Use 'x264' or 'auto'.")


def choose_encoder(word: str, device: torch.device, width: int, height: int) -> str:
    """The encoder to use, one of CODECS.

    Args:
        word: which; ``auto`` takes NVENC where it opens.
        device: what is computed on.
        width, height: of the pictures, in pixels; NVENC refuses very small ones.

    Raises:
        ConfigError: if the one that is asked for is not to be had.
    """
    check_encoder(word, device)
    is_wanted = word != "x264" and device.type == "cuda"
    fault = fault_of("nvenc", width, height) if is_wanted else None
    if word == "nvenc" and fault:
        raise ConfigError("encoder", word, f"it must open, and does not: {fault}", "Use 'x264' or 'auto'.")
    found = "nvenc" if is_wanted and not fault else "x264"
    logger.info("H.264 by %s%s", found, f" (no NVENC: {fault})" if fault else "")
    return found


def encoding_threads(encoder: str, cores: int | None = None) -> int:
    """How many threads an encoder may have: several where many cores are, else one, as others need theirs.

    With x264 each picture is cut into as many slices, so a viewer waits less for the last picture of a chunk.
    """
    cores = cores or os.cpu_count() or 1
    return 4 if encoder == "x264" and cores >= _MANY_CORES else 1


@functools.cache
def fault_of(name: str, width: int, height: int) -> str | None:
    """Why an encoder does not open for pictures of this size, as FFmpeg says; None if it does."""
    try:
        codec = av.CodecContext.create(CODECS[name], "w")
        assert isinstance(codec, VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.options = Fraction(1, 16), SETTINGS[name]
        codec.open()
    except (av.FFmpegError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
