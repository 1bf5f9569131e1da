"""LongLive: type a prompt, watch the video, change it while it plays.

    import longlive

    models = longlive.load_models("storybook")
    session = longlive.Session(models, "a red ball stands on a green meadow", seed=7)
    chunk = session.next_chunk()
    session.set_prompt("the red ball jumps on a green meadow", switch="soft")

The names below are loaded when they are first used, so that importing the package is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

from longlive.version import __version__ as __version__

if TYPE_CHECKING:
    from longlive.chunks import FrameChunk, LatentChunk, MediaSegment, PromptEmbedding
    from longlive.config import ModelConfig, StreamConfig, TransformerConfig
    from longlive.errors import (
        BusyError,
        CheckpointError,
        ConfigError,
        EndpointError,
        FitError,
        LongLiveError,
        LostError,
        MailboxError,
        MediaError,
        PromptError,
        SessionClosedError,
        SessionFileError,
        TrainingError,
    )
    from longlive.generation.session import Session
    from longlive.models.bundle import ModelBundle
    from longlive.models.model_card import ModelCard, Story
    from longlive.weights.loading import load_models
    from longlive.weights.pipeline import LongLivePipeline
    from longlive.weights.saving import save_models

# The modules that the public names come from; the quick ones first.
_MODULES = (
    "errors",
    "config",
    "chunks",
    "models.model_card",
    "models.bundle",
    "weights.loading",
    "weights.saving",
    "generation.session",
    "weights.pipeline",
)

__all__ = [
    "BusyError",
    "CheckpointError",
    "ConfigError",
    "EndpointError",
    "FitError",
    "FrameChunk",
    "LatentChunk",
    "LongLiveError",
    "LongLivePipeline",
    "LostError",
    "MailboxError",
    "MediaError",
    "MediaSegment",
    "ModelBundle",
    "ModelCard",
    "ModelConfig",
    "PromptEmbedding",
    "PromptError",
    "Session",
    "SessionClosedError",
    "SessionFileError",
    "Story",
    "StreamConfig",
    "TrainingError",
    "TransformerConfig",
    "load_models",
    "save_models",
]


def __getattr__(name: str) -> Any:
    for module in _MODULES if name in __all__ else ():
        found = vars(importlib.import_module(f"longlive.{module}"))
        if name in found:
            return found[name]
    raise AttributeError(f"module 'longlive' has no attribute {name!r}")
