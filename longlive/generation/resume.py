"""Which of a story's clean passes must be run again, so that it goes on from the latents that were kept.

A hard cut forgets what was before it. A soft switch makes the memory anew from the last latents; once the
window has rolled, the keys and values of the sink alone may outlive it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from longlive.config import ModelConfig, StreamConfig
from longlive.errors import SessionFileError
from longlive.generation.session_file import PromptEvent, SessionRecord, latents_digest
from longlive.models.bundle import ModelBundle


@dataclass(frozen=True)
class ResumePlan:
    """How a session comes to where its kept latents end.

    Attributes:
        prompts: of the story, each at the chunk that serves it, those still to come included.
        passes: the chunks whose prompt is served and whose clean pass is run again; the others leave nothing.
            Where the last is missing, the prompt of the next chunk makes the memory anew.
    """

    prompts: tuple[PromptEvent, ...]
    passes: frozenset[int]


def plan_exact(prompts: Sequence[PromptEvent], num_chunks: int, stream: StreamConfig) -> ResumePlan:
    """The way to the same memory, bit for bit: passes since the last cut or soft switch, and the sink's."""
    events = tuple(_in_turn(prompts))
    return ResumePlan(
        events, _passes([event for event in events if event.chunk < num_chunks], num_chunks, stream)
    )


def plan_quick(prompts: Sequence[PromptEvent], num_chunks: int, stream: StreamConfig) -> ResumePlan:
    """A way that does not grow with the story: the last prompt is said once more, softly, at the next chunk.

    Nothing is added where a cut or a soft switch is due there anyway, nor where the exact way is as short:
    where it has no more passes than a window has chunks, or the window is endless, and its recache as long.
    A ``keep`` that is due there waits for a chunk.
    """
    exact, enough = plan_exact(prompts, num_chunks, stream), chunks_in_window(stream)
    if enough is None or len(exact.passes) <= enough:
        return exact
    served = [event for event in exact.prompts if event.chunk < num_chunks]
    coming = exact.prompts[len(served) :]
    softly = PromptEvent(num_chunks, served[-1].text, "soft")
    if not any(event.chunk == num_chunks and event.switch in ("soft", "hard") for event in coming):
        coming = (softly, *coming)
    return ResumePlan(tuple(_in_turn((*served, *coming))), _passes([*served, softly], num_chunks, stream))


def chunks_in_window(stream: StreamConfig) -> int | None:
    """How many chunks hold the latents that a recache may need; None for all."""
    return None if stream.window == -1 else -(-stream.window // stream.chunk)


def check_models(models: ModelBundle, record: SessionRecord) -> None:
    """SessionFileError if the record belongs to another model, dtype, quantisation or cache."""
    cure = f"Load the model {record.model!r} as it was then."
    _check_same("model", record.model_digest, models.digest, cure)
    dtype = str(models.dtype).removeprefix("torch.")
    _check_same("dtype", record.dtype, dtype, "Load the model in that dtype.")
    for name, option in (("quantization", "--quantize"), ("cache", "--cache")):
        recorded = getattr(record, name)
        _check_same(name, recorded, getattr(models, name), f"Load the model with {option} {recorded}.")


def kept_latents(
    record: SessionRecord, latents: Sequence[Tensor], config: ModelConfig, dtype: torch.dtype
) -> list[Tensor]:
    """The latents of all chunks in ``dtype``, where they were given.

    Raises:
        SessionFileError: if they are not those that the record tells of.
    """
    if len(latents) != len(record.chunks):
        raise SessionFileError(
            f"The latents of {len(latents)} chunks were kept, but the session file tells of "
            f"{len(record.chunks)}. Give it the latents of all its chunks, from the first."
        )
    expected = (1, record.stream.chunk, *config.latent_shape)
    clean = [part.to(dtype) for part in latents]
    for index, (part, digest) in enumerate(zip(clean, record.chunks, strict=True)):
        if tuple(part.shape) != expected:
            raise SessionFileError(
                f"The latents of chunk {index} have shape {tuple(part.shape)}, but this session makes "
                f"{expected}. Give the latents that were kept of it."
            )
        if (found := latents_digest(part)) != digest:
            raise SessionFileError(
                f"The latents of chunk {index} are not those of the session file: their digest is {found}, "
                f"but it says {digest}. They are damaged, or of another session: make its chunks again."
            )
    return clean


def _check_same(what: str, recorded: str, here: str, cure: str) -> None:
    if recorded != here:
        raise SessionFileError(
            f"The session file was made with another {what}: {recorded[:16]}; here it is {here[:16]}. {cure}"
        )


def _in_turn(prompts: Sequence[PromptEvent]) -> Iterator[PromptEvent]:
    """Each at the chunk that serves it: none before its time, and one at most at each chunk."""
    free = 0
    for event in prompts:
        free = max(free, event.chunk)
        yield replace(event, chunk=free)
        free += 1


def _passes(events: Sequence[PromptEvent], num_chunks: int, stream: StreamConfig) -> frozenset[int]:
    """The chunks to remember again when ``events`` have been served and ``num_chunks`` chunks made."""
    cut = max((event.chunk for event in events if event.switch == "hard"), default=0)
    softs = [event.chunk for event in events if event.switch == "soft" and event.chunk > cut]
    if not softs:
        return frozenset(range(cut, num_chunks))
    last = softs[-1]
    sinks = {last}
    if stream.global_sink and stream.sink and _has_rolled(last - cut, stream):
        # No recache reaches the sink any more: it is as the last one before, or the cut, had left it.
        sinks = {max((chunk for chunk in softs if not _has_rolled(chunk - cut, stream)), default=cut)}
    return frozenset(range(last, num_chunks)) | (sinks - {num_chunks})


def _has_rolled(num_chunks: int, stream: StreamConfig) -> bool:
    return stream.window != -1 and num_chunks * stream.chunk > stream.window
