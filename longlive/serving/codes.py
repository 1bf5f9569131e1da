"""What can happen to a run, as fixed codes; ``web/messages.py`` turns them into sentences."""

from typing import Literal

StopReason = Literal["user", "max_duration", "contended_duration", "no_player", "replaced", "closed"]
"""Why a run is told to stop. One that was closed keeps no video."""

SuspendReason = Literal["viewer_away", "player_silent", "shutdown"]
"""Why a run lets go of the model until its viewer is back."""

FinishReason = StopReason | Literal["complete", "failed", "quota", "expired"]
"""Why a run is over; ``quota``: the visitor has no GPU time left; ``expired``: nobody came back in time."""

PreemptReason = Literal["suspended", "lease_over", "paused", "gpu_busy", "worker_lost"]
"""Why an executor lets go of a run that can go on elsewhere; ``paused``: its viewer stands still."""

FailureKind = Literal["model", "memory", "encoder", "disk", "worker_lost", "quota"]
"""What can break."""

NoticeCode = Literal[
    "resumed_exact",
    "resumed_quick",
    "branched_exact",
    "branched_quick",
    "welcome_back",
    "player_silent",
    "max_duration_soon",
    "contended_duration_soon",
    "model_loading",
    "encoder_restarted",
    "memory_downgraded",
    "prompt_truncated",
    "video_not_kept",
    "recording_over",
]
"""What a viewer should know while the run goes on."""

DISCARDING: frozenset[str] = frozenset({"closed", "expired"})
"""Reasons after which nothing of the video is kept."""
