"""Every sentence that a viewer reads about a run; the engine itself speaks in codes."""

from collections.abc import Sequence

from longlive.chunks import PictureWarning
from longlive.serving.codes import FailureKind, FinishReason, NoticeCode
from longlive.serving.executors.events import NoticeEvent
from longlive.serving.limits import Limits
from longlive.serving.runs.events import QueuePosition, RunFinished

MAX_WAIT_S = 86_400
"""A longer wait is not said."""
PLAYING = "Playing. Send another prompt whenever you like."
NOT_PLAYING = "No video is playing. Press Start first."
NOT_KEPT = "This video is no longer kept. Press Start for a new one."
NOTHING_TO_STOP = "No video is playing."
STOPPING = "Stopping after this chunk…"
NO_PROMPT = "Type a prompt first: it is tried in all three ways."
ALREADY_COMPARING = "Three takes are being made already. Please wait for them, or cancel them."
COMPARED = {
    True: "Three takes are ready. Each goes on exactly as the video stood there.",
    False: "Three takes are ready, restored from the last few seconds; small details may differ.",
}
COMPARISON_ENDED: dict[str, str] = {
    "cancelled": "Cancelled. The takes that were ready are kept.",
    "closed": "Nobody read the answers, so no more takes are made.",
    "replaced": "Another video was started, so no more takes are made.",
    "user": "Stopped. The takes that were ready are kept.",
}
DELETED = "The take was deleted."

PICTURE_WARNINGS: dict[PictureWarning, str] = {
    "still": "The picture has stood still for a while. A prompt that asks for motion, or a cut, wakes it.",
    "washed_out": "The picture is washing out. A cut starts afresh, and a smooth prompt often helps.",
}
_FINISHED: dict[FinishReason, str] = {
    "complete": "The video is complete.",
    "user": "Stopped. Your video is below.",
    "contended_duration": "Others are waiting, so your video stopped here. It is below.",
    "replaced": "A new video was started.",
    "closed": "The page was closed.",
    "expired": NOT_KEPT,
}
_NOTICES: dict[NoticeCode, str] = {
    "resumed_exact": "Continuing exactly where you left off.",
    "resumed_quick": "Continuing from the last few seconds; small details may change.",
    "branched_exact": "A new take goes on from here, exactly as the other one stood.",
    "branched_quick": "A new take goes on from here, restored from the last few seconds.",
    "welcome_back": "Welcome back. Your video continues as soon as a slot is free.",
    "player_silent": "Your player stopped responding, so the video is paused until you are back.",
    "max_duration_soon": "Your video reaches its maximum length in {seconds:.0f} s.",
    "contended_duration_soon": "Others are waiting: your video stops in {seconds:.0f} s. You can keep it.",
    "model_loading": "The model is being loaded; your video starts as soon as it is.",
    "encoder_restarted": "The video encoder was restarted; no picture was lost ({detail}).",
    "memory_downgraded": "The server ran out of memory and uses less now. Your video continues.",
    "prompt_truncated": "Your prompt is longer than the model reads; its end is ignored.",
    "video_not_kept": "The video continues, but it cannot be saved: {detail}.",
    "recording_over": "The recorded video ends here; what follows is new. Send a prompt whenever you like.",
}
_FAILED: dict[FailureKind, str] = {
    "model": "Something went wrong while making your video",
    "memory": "The server ran out of memory",
    "encoder": "The video could not be encoded",
    "disk": "The server's disk is full",
    "worker_lost": "The connection to the GPU worker was lost and could not be restored",
    "quota": "No GPU time is available",
}


def finished_text(event: RunFinished, limits: Limits) -> str:
    """Why a video is over, and what of it could not be kept."""
    parts = [_finish_reason(event, limits)]
    if event.not_kept:
        parts.append(f"Not everything could be saved: {' '.join(event.not_kept)}")
    return " ".join(parts)


def _finish_reason(event: RunFinished, limits: Limits) -> str:
    if event.reason == "max_duration":
        return f"Your video has reached the maximum length of {duration(limits.max_duration_s)}. It is below."
    if event.reason == "no_player":
        return f"No player was connected for {limits.no_player_timeout_s:.0f} s, so the video stopped."
    if event.failure is None:
        return _FINISHED[event.reason]
    detail = f" ({event.failure.detail})" if event.failure.detail else ""
    if event.reason == "quota":
        return event.failure.detail or f"{_FAILED['quota']}."
    saved = " What was made is below." if event.video else ""
    return f"{_FAILED[event.failure.kind]}{detail}.{saved} Press Start to try again."


def notice_text(event: NoticeEvent) -> str:
    """What a viewer should know while the video goes on."""
    detail = event.failure.detail if event.failure else ""
    return _NOTICES[event.code].format(seconds=event.seconds, detail=detail)


def queue_text(event: QueuePosition) -> str:
    """Where a viewer is in the queue; a public room before it may not end at all."""
    when = f": starts in {duration(event.wait_s)} at most" if event.wait_s < MAX_WAIT_S else ""
    return f"Queue position {event.position}{when}. Please keep this page open."


def limits_text(limits: Limits) -> str:
    """How long a video may be, said before it matters."""
    longest, contended = duration(limits.max_duration_s), duration(limits.contended_duration_s)
    return f"A video lasts up to {longest}, or {contended} while others wait."


def unreached_text(prompts: Sequence[str]) -> str:
    """The prompts that a video is too short for; empty without any."""
    if not prompts:
        return ""
    shown = "; ".join(f"“{text if len(text) <= 60 else text[:59] + '…'}”" for text in prompts[:5])
    more = f" and {len(prompts) - 5} more" if len(prompts) > 5 else ""
    return f"Beyond the end of the video, and not shown: {shown}{more}."


def clock_text(seconds: float) -> str:
    """A second of a video as players show it, such as 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def duration(seconds: float) -> str:
    """A length of time for people."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
