"""Which encoder is taken: NVENC where it opens, never silently another than the one asked for."""

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from longlive import ConfigError
from longlive.chunks import FrameChunk
from longlive.media import h264 as encoders
from longlive.media import segments
from longlive.media.h264 import (
    CODECS,
    SETTINGS,
    check_encoder,
    choose_encoder,
    encoder_fault,
    encoding_threads,
)
from longlive.media.segments import SegmentEncoder
from longlive.runtime.startup import RuntimeOptions, plan_for, ready_models

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SIZE = 96, 64


@pytest.fixture
def nvenc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A codec that opens here stands for NVENC."""
    monkeypatch.setitem(CODECS, "nvenc", "mpeg4")
    monkeypatch.setitem(SETTINGS, "nvenc", {"bf": "0"})
    encoder_fault.cache_clear()
    yield
    encoder_fault.cache_clear()


def test_without_a_gpu_it_is_x264_and_nothing_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "encoder_fault", None)
    assert choose_encoder("auto", CPU, *SIZE) == choose_encoder("x264", CPU, *SIZE) == "x264"
    assert choose_encoder("x264", GPU, *SIZE) == "x264"


def test_where_nvenc_does_not_open_auto_falls_back_and_says_why(
    nvenc: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(CODECS, "nvenc", "h264_of_no_ffmpeg")  # so that it also fails beside a GPU
    with caplog.at_level("INFO"):
        assert choose_encoder("auto", GPU, *SIZE) == "x264"
    assert "H.264 by x264 (no NVENC: " in caplog.text
    with pytest.raises(ConfigError, match=r"encoder is 'nvenc', but this encoder does not open here: .*x264"):
        choose_encoder("nvenc", GPU, *SIZE)


def test_where_nvenc_opens_it_is_taken_after_one_probe(nvenc: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert [choose_encoder(word, GPU, *SIZE) for word in ("auto", "nvenc")] == ["nvenc", "nvenc"]
    assert encoder_fault.cache_info().misses == 1
    assert caplog.messages == ["H.264 by nvenc"] * 2


def test_the_encoder_that_is_named_is_the_one_that_encodes(nvenc: None) -> None:
    frames = np.zeros((3, 64, 96, 3), np.uint8) + np.arange(96, dtype=np.uint8)[:, None]
    data = SegmentEncoder(encoder="nvenc").encode(FrameChunk(0, 0, "", 0, frames, 16)).data
    with av.open(io.BytesIO(data)) as video:
        assert video.streams.video[0].codec_context.name == "mpeg4"
        assert [picture.key_frame for picture in video.decode(video=0)] == [True, False, False]


def test_nvenc_without_a_gpu_is_an_error_before_anything_is_loaded(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"NVENC is part of a GPU, not of cpu.*Use 'x264' or 'auto'"):
        plan_for("no such model", RuntimeOptions(device="cpu", encoder="nvenc"))
    with pytest.raises(ConfigError, match="must be one of"):
        check_encoder("h265", CPU)
    assert ready_models(str(tiny_folder), RuntimeOptions(device="cpu"), print).runtime.encoder == "x264"


def test_x264_opens_and_settings_hold_back_no_picture() -> None:
    assert encoder_fault("x264", *SIZE) is None
    assert all(settings["bf"] == "0" for settings in SETTINGS.values())


def test_x264_has_several_threads_only_where_many_cores_are() -> None:
    assert [encoding_threads("x264", cores) for cores in (1, 2, 7, 8, 64)] == [1, 1, 1, 4, 4]
    assert encoding_threads("nvenc", 64) == 1


def test_pictures_cut_into_slices_are_whole_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "encoding_threads", lambda encoder: 4)
    pictures = np.tile(np.arange(96, dtype=np.uint8)[:, None], (12, 64, 1, 3))
    segment = SegmentEncoder().encode(FrameChunk(0, 0, "a ball", 0, pictures, 16))
    with av.open(io.BytesIO(segment.data)) as source:
        seen = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    assert len(seen) == 12
    assert abs(seen[-1].astype(int) - pictures[-1]).max() < 16
