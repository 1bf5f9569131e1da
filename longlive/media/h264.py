"""Which H.264 encoder writes the segments: NVENC where the device has one that opens, else x264."""

import functools
import logging
import os
from fractions import Fraction
from typing import cast, get_args

import av
import torch
from av.video.codeccontext import VideoCodecContext

from longlive.config import Auto, EncoderName
from longlive.errors import ConfigError

logger = logging.getLogger(__name__)

AUTO = "auto"
CHOICES = (AUTO, *get_args(EncoderName))
CODECS: dict[EncoderName, str] = {"nvenc": "h264_nvenc", "x264": "libx264"}
"""FFmpeg's names of the encoders."""

# No B-frames to wait for: each picture comes out as soon as it went in. With x264, a chunk at 832x480 with
# some grain took 0.12 s of CPU and 386 kB with veryfast, 0.08 s and 589 kB with superfast (AMD EPYC,
# 2026-11-27); the embedded model's video is a fifth smaller. NVENC is still to be measured: its size and its
# time, which includes opening it for each segment.
SETTINGS: dict[EncoderName, dict[str, str]] = {
    "x264": {"preset": "veryfast", "tune": "zerolatency", "profile": "baseline", "crf": "20", "bf": "0"},
    "nvenc": {"preset": "p4", "tune": "ll", "profile": "baseline", "rc": "constqp", "qp": "22", "bf": "0"}
    | {"delay": "0", "zerolatency": "1"},
}


# From this many cores on, x264 may have several.
_MANY_CORES = 8


def check_encoder(name: str, device: torch.device) -> None:
    """Raise ConfigError if an encoder is unknown, or a device cannot have it."""
    if name not in CHOICES:
        raise ConfigError("encoder", name, f"it must be one of {CHOICES}", "Use 'auto'.")
    if name == "nvenc" and device.type != "cuda":
        rule = f"NVENC is part of a GPU, not of {device}"
        raise ConfigError("encoder", name, rule, "Use 'x264' or 'auto'.")


def choose_encoder(name: EncoderName | Auto, device: torch.device, width: int, height: int) -> EncoderName:
    """The encoder to use.

    Args:
        name: the one asked for; ``auto`` takes NVENC where it opens.
        device: what is computed on.
        width, height: of the pictures, in pixels; NVENC refuses very small ones.

    Raises:
        ConfigError: if the one asked for is not available.
    """
    check_encoder(name, device)
    is_wanted = name != "x264" and device.type == "cuda"
    fault = encoder_fault("nvenc", width, height) if is_wanted else None
    if name == "nvenc" and fault:
        rule = f"this encoder does not open here: {fault}"
        raise ConfigError("encoder", name, rule, "Use 'x264' or 'auto'.")
    chosen: EncoderName = "nvenc" if is_wanted and not fault else "x264"
    logger.info("H.264 by %s%s", chosen, f" (no NVENC: {fault})" if fault else "")
    return chosen


def encoding_threads(encoder: EncoderName, cores: int | None = None) -> int:
    """How many threads an encoder may have: several on a machine of many cores, else one.

    x264 cuts each picture into as many slices, so a viewer waits less for the last picture of a chunk.
    """
    cores = cores or os.cpu_count() or 1
    return 4 if encoder == "x264" and cores >= _MANY_CORES else 1


@functools.cache
def encoder_fault(name: EncoderName, width: int, height: int) -> str | None:
    """Why an encoder does not open for pictures of this size, as FFmpeg says; None if it does."""
    try:
        codec = cast(VideoCodecContext, av.CodecContext.create(CODECS[name], "w"))
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.options = Fraction(1, 16), SETTINGS[name]
        codec.open()
    except (av.FFmpegError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
