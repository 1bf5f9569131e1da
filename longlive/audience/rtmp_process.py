"""The process that sends a video to an RTMP server: ``python -m longlive.audience.rtmp_process``.

It is a process of its own since PyAV holds Python's lock while it connects and closes: a server that accepts
and never answers would stop the app. Here, a call that takes too long ends the process, wherever it is.

It reads what ``pack_chunk`` has packed from its standard input; first a message with the address, which so
stands in no list of processes, and with the longest time that a call may take; then segments, each with its
``fps``. It writes words to its standard output, a line each: ``connected``, or why it ends. H.264 is sent as
it comes, one picture at a time when it is due, with a track of silence, which services want. The silence goes
on while no pictures come.
"""

import io
import json
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

BUFFER_S = 0.5
"""Pictures are sent so much later than they come, so that one that comes late leaves no gap."""
SILENCE_RATE, SILENCE_SAMPLES = 44_100, 1024
CONNECTED, CHANGED = "connected", "the video has changed its format"
_TICK_S = 0.1
_HEADER = struct.Struct(">II")
_OPTIONS = {"flvflags": "no_duration_filesize", "max_interleave_delta": "200000", "flush_packets": "1"}

Message = dict[str, Any]


def pack_chunk(message: Message, data: bytes = b"") -> bytes:
    """A message and its data as this process reads them."""
    text = json.dumps(message).encode()
    return _HEADER.pack(len(text), len(data)) + text + data


def read_chunks(source: BinaryIO, tick_s: float = _TICK_S) -> Iterator[tuple[Message, bytes] | None]:
    """What was packed, to the end of an unbuffered file, and None whenever nothing comes for ``tick_s``."""
    while True:
        if not select.select([source], [], [], tick_s)[0]:
            yield None
            continue
        header = _read(source, _HEADER.size)
        if len(header) < _HEADER.size:
            return
        length, size = _HEADER.unpack(header)
        yield json.loads(_read(source, length)), _read(source, size)


def _read(source: BinaryIO, size: int) -> bytes:
    """So many bytes of an unbuffered file; fewer at its end."""
    data = bytearray()
    while len(data) < size and (part := source.read(size - len(data))):
        data += part
    return bytes(data)


class RtmpSender:
    """An open connection, and the times of what is sent over it: seconds since it was opened."""

    def __init__(self, url: str, first: bytes, on_progress: Callable[[], None]) -> None:
        """Connect.

        Args:
            url: of the stream, with its key.
            first: a segment, which has the format of all.
            on_progress: called after each picture that was sent.

        Raises:
            av.FFmpegError: if the server refuses.
        """
        self._on_progress = on_progress
        with av.open(io.BytesIO(first), "r") as source:
            template = source.streams.video[0]
            self._output: OutputContainer = av.open(url, "w", format="flv", options=_OPTIONS)
            self._video: VideoStream = self._output.add_stream_from_template(template)
            self._extradata = template.codec_context.extradata
        self._audio: AudioStream = self._output.add_stream("aac", rate=SILENCE_RATE, layout="stereo")
        self._num_samples, self._end_s = 0, 0.0
        self._output.start_encoding()
        self._begun = time.monotonic()

    def send(self, data: bytes, fps: int) -> bool:
        """Send a segment, each picture when it is due; False, and nothing is sent, if its format is
        another."""
        with av.open(io.BytesIO(data), "r") as source:
            if source.streams.video[0].codec_context.extradata != self._extradata:
                return False
            packets = [packet for packet in source.demux(video=0) if packet.size]
        if self._end_s < self._now():
            self._end_s = self._now() + BUFFER_S
        for packet in packets:
            self._send_picture(packet, fps)
        return True

    def send_silence(self) -> None:
        """Send silence up to now."""
        until = int(self._now() * SILENCE_RATE)
        while self._num_samples < until:
            silence = np.zeros((2, SILENCE_SAMPLES), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SILENCE_RATE, self._num_samples
            frame.time_base = Fraction(1, SILENCE_RATE)
            self._output.mux(self._audio.encode(frame))
            self._num_samples += SILENCE_SAMPLES

    def close(self) -> None:
        """Say goodbye."""
        self._output.close()

    def _send_picture(self, packet: Packet, fps: int) -> None:
        while (left_s := self._end_s - self._now()) > 0:
            time.sleep(min(left_s, _TICK_S))
            self.send_silence()
        packet.stream, packet.time_base = self._video, Fraction(1, 1000)
        packet.pts = packet.dts = round(self._end_s * 1000)
        packet.duration = round(1000 / fps)
        self._output.mux(packet)
        self._end_s += 1 / fps
        self._on_progress()

    def _now(self) -> float:
        return time.monotonic() - self._begun


def main() -> int:
    """Send what comes until there is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the app is told, and ends this process
    try:
        with open(0, "rb", buffering=0) as source:
            return _send(read_chunks(source))
    except av.FFmpegError as error:
        _say(error.strerror or type(error).__name__)  # never the whole error, which names the address
    return 1


def _send(chunks: Iterator[tuple[Message, bytes] | None]) -> int:
    start, sender = next(found for found in chunks if found)[0], None

    def extend_time() -> None:
        """The process ends so long after the last call."""
        signal.setitimer(signal.ITIMER_REAL, start["timeout_s"])

    for found in chunks:
        extend_time()
        if found is not None:
            message, data = found
            if sender is None:
                sender = RtmpSender(start["url"], data, extend_time)
                _say(CONNECTED)
            if not sender.send(data, message["fps"]):
                _say(CHANGED)
                return 1
        elif sender is not None:
            sender.send_silence()
    if sender is not None:
        sender.close()
    return 0


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # without goodbye to a server that has gone
