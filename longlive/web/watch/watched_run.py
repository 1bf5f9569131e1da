"""What those who watch a run may see of it: its state, how far its viewer has come, and the messages."""

from collections.abc import Iterator
from typing import Literal

from longlive.serving.executors.events import SegmentEvent
from longlive.serving.runs.events import RunEvent, without_dropped
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus
from longlive.web.live import pack_frame
from longlive.web.viewer_stream import Message, event_message, segment_message

State = Literal["waiting", "live", "paused", "resting", "ended"]
"""Of a run: its first pictures are still to come; its viewer watches, or has stopped the player; it is
suspended until its viewer is back; it is over."""

STALLED_S = 0.8
"""A player that stands still with less than this ahead waits for more video; nobody has paused it."""
MAX_BEHIND = 40
"""Chunks; who was away for longer goes on at the live edge."""
MAX_SPANS, MAX_CHARACTERS = 20, 200
_PUBLIC = frozenset(
    {"kind", "chunk", "second", "prompt_index", "prompt", "first_frame", "num_frames", "fps"}
    | {"mime", "ends_chunk", "thumbnail"}
)
"""All fields of a message that leave the server; a run's token is none of them."""


def state_of(run: Run) -> State:
    """The run's state."""
    match run.status:
        case RunStatus.SUSPENDED:
            return "resting"
        case RunStatus.FINISHED:
            return "ended"
        case RunStatus.WAITING:
            return "waiting"
    if not run.end_s:
        return "waiting"
    has_more = run.end_s - position_of(run) > STALLED_S
    return "paused" if run.presence.clock.is_paused and has_more else "live"


def position_of(run: Run) -> float:
    """The second of the video that the viewer sees."""
    return run.presence.clock.position(run.end_s)


def num_seen(run: Run) -> int:
    """Stored chunks that the viewer has begun to see; only those may be looked at again."""
    return run.store.chunks.first_from(position_of(run) + 1e-6)


def first_chunk(run: Run, asked: int | None, take: str) -> int:
    """The chunk that somebody begins with who wants those from ``asked`` on.

    Args:
        run: that is watched.
        asked: the first chunk that is missing; None for what the viewer sees now.
        take: name of the run that ``asked`` belongs to; empty for this one.
    """
    live = max(0, num_seen(run) - 1)
    is_near = asked is not None and live - MAX_BEHIND <= asked <= run.num_chunks
    return asked if asked is not None and is_near and take in ("", run.name) else live


def spans_of(run: Run) -> list[Message]:
    """What each prompt made, up to what the viewer sees."""
    position = position_of(run)
    return [
        {"prompt_index": span.prompt_index, "text": span.text[:MAX_CHARACTERS], "start": span.start}
        for span in run.prompts.spans[-MAX_SPANS:]
        if span.start <= position
    ]


def recent_segments(run: Run, until: int) -> list[tuple[int, SegmentEvent]]:
    """The segments that the event log still has, with their numbers up to ``until``, but for those dropped.

    They begin with a whole chunk.
    """
    recent = without_dropped((number, event) for number, event in run.events.kept() if number <= until)
    while recent and not _begins_chunk(run, recent[0][1]):
        recent.pop(0)
    return recent


def stored_frames(run: Run, first: int, end: int) -> Iterator[bytes]:
    """The frames of stored chunks from ``first`` to before ``end``, each read when it is asked for."""
    for chunk in range(first, end):
        for segment in run.store.chunk(chunk):
            yield pack_frame(_public({"kind": "segment"} | segment_message(segment)), segment.data)


def event_frame(event: RunEvent) -> bytes:
    """The frame of an event."""
    data = event.segment.data if isinstance(event, SegmentEvent) else b""
    return pack_frame(_public(event_message(event)), data)


def _public(message: Message) -> Message:
    return {name: value for name, value in message.items() if name in _PUBLIC}


def _begins_chunk(run: Run, event: SegmentEvent) -> bool:
    stored = run.store.chunks[event.segment.index : event.segment.index + 1]
    return not stored or stored[0].segments[0]["first_frame"] == event.segment.first_frame
