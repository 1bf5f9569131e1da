"""An audience's video as HTTP Live Streaming (RFC 8216): a playlist, and segments that never change.

playlist = playlists.of(audience)
playlist.update()                  # take in what has settled meanwhile
playlist.text()                    # /live/ID.m3u8
playlist.segment("12-0123…")       # /live/ID/12-0123….ts

A segment is a chunk, remuxed to MPEG-TS and never encoded again. Its name ends in a digest of its bytes, so
that whatever is fetched under it can be kept for ever, by a browser or by a CDN. Chunks that a prompt may
still drop are not listed. There is no sound: players need none.
"""

import hashlib
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from longlive.audience.audience import Audience
from longlive.audience.settled_chunks import SettledChunk, SettledChunks
from longlive.errors import MediaError
from longlive.media.transport_stream import TransportStreamWriter

WINDOW = 16
"""Segments that a playlist lists, 12 s of the usual chunks."""
MAX_KEPT = 2 * WINDOW
"""Segments that can be fetched: a player may ask for one a while after it was listed."""
MIN_INTERVAL_S = 0.05
HOLD_BACK_TARGETS = 3
"""Players are asked to stay so many target durations behind the newest segment: as few as may be."""
_DRIFT_S = 0.5
_EPOCH_S = 1.7e9
# Another process begins with another number, since its times may be others. It is small: hls.js keeps an
# array with a place for each, and took 2 s for every segment when they began at 95 million.
_MAX_DISCONTINUITY = 10_000


@dataclass(frozen=True)
class _Entry:
    """A segment of a playlist; ``starts_at`` in seconds since 1970, ``discontinuities`` counted up to it."""

    name: str
    data: bytes
    duration_s: float
    starts_at: float
    is_continuous: bool
    discontinuities: int

    @property
    def ends_at(self) -> float:
        return self.starts_at + self.duration_s


class HlsPlaylist:
    """The playlist of one audience. Safe to use from several threads.

    Nothing is made while nobody asks; then it goes on with the newest segments.

    Attributes:
        next_number: media sequence number of the segment that comes next. It begins above all that an earlier
            process can have reached, so that a player of a room goes on after a restart.
        is_over: whether no segment follows, as far as is known.
    """

    def __init__(self, audience: Audience) -> None:
        """An empty playlist."""
        now = time.time()
        self.next_number, self.is_over = int(2 * (now - _EPOCH_S)), False  # no two segments in a second
        self._id, self._chunks = audience.id, SettledChunks(audience)
        self._writer = TransportStreamWriter()
        self._entries: deque[_Entry] = deque(maxlen=MAX_KEPT)
        self._discontinuities = int(now) % _MAX_DISCONTINUITY
        self._text, self._updated_at = "", -math.inf
        self._lock = threading.Lock()

    def update(self) -> bool:
        """Take in the chunks that have settled; whether the playlist has changed.

        Calls within ``MIN_INTERVAL_S`` after another do nothing.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._updated_at < MIN_INTERVAL_S:
                return False
            self._updated_at, was_over = now, self.is_over
            chunks = self._chunks.take(at_most=WINDOW)
            for chunk in chunks:
                self._add(chunk)
            self.is_over = self._chunks.is_over
            is_changed = bool(chunks) or self.is_over != was_over
            if is_changed or not self._text:
                self._text = self._write()
            return is_changed

    def text(self) -> str:
        """The playlist, as of the last update; URIs are relative to ``/live/``."""
        return self._text

    def segment(self, name: str) -> bytes | None:
        """The MPEG-TS of a segment by its name, ``CHUNK-DIGEST``; None if it is not kept (any more)."""
        return next((one.data for one in list(self._entries) if one.name == name), None)

    def _add(self, chunk: SettledChunk) -> None:
        self.next_number += 1 + (chunk.skipped if self._entries else 0)
        self._discontinuities += not chunk.is_continuous
        if chunk.skipped:
            self._entries.clear()
        try:
            data = self._writer.write(chunk.segments)
        except MediaError:  # a damaged file: a gap
            self._entries.clear()
            return
        name = f"{chunk.index}-{hashlib.sha256(data).hexdigest()[:16]}"
        starts_at, place = self._start_of(chunk), (chunk.is_continuous, self._discontinuities)
        self._entries.append(_Entry(name, data, chunk.duration_s, starts_at, *place))

    def _start_of(self, chunk: SettledChunk) -> float:
        """When the viewer began to see a chunk; the end of the one before, unless the viewer has paused."""
        starts_at = time.time() - chunk.age_s
        before = self._entries[-1] if self._entries else None
        if before is None or abs(before.ends_at - starts_at) > _DRIFT_S:
            return starts_at
        return before.ends_at

    def _write(self) -> str:
        listed = list(self._entries)[-WINDOW:]
        target = max([1, *(math.floor(one.duration_s + 0.5) for one in self._entries)])
        first = listed[0] if listed else None
        discontinuities = (
            first.discontinuities - (not first.is_continuous) if first else self._discontinuities
        )
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:6",
            f"#EXT-X-TARGETDURATION:{target}",
            f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK={HOLD_BACK_TARGETS * target:.1f}",
            f"#EXT-X-MEDIA-SEQUENCE:{self.next_number - len(listed)}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        for one in listed:
            lines += ["#EXT-X-DISCONTINUITY"] * (not one.is_continuous)
            lines += [
                f"#EXT-X-PROGRAM-DATE-TIME:{_date(one.starts_at)}",
                f"#EXTINF:{one.duration_s:.5f},",
                f"{self._id}/{one.name}.ts",
            ]
        return "\n".join([*lines, *["#EXT-X-ENDLIST"] * self.is_over, ""])


class HlsPlaylists:
    """The playlists of all open audiences that anybody has asked for."""

    def __init__(self) -> None:
        """None."""
        self._by_audience: dict[Audience, HlsPlaylist] = {}
        self._lock = threading.Lock()

    def of(self, audience: Audience) -> HlsPlaylist:
        """The playlist of an audience; those of closed ones go."""
        with self._lock:
            for closed in [one for one in self._by_audience if not one.is_open]:
                del self._by_audience[closed]
            if audience not in self._by_audience:
                self._by_audience[audience] = HlsPlaylist(audience)
            return self._by_audience[audience]


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
