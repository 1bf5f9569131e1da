"""Which clean passes must be run again, so that a session goes on from the latents that were kept.

A hard cut forgets what was before it. A soft switch rebuilds the cache from the last latents; once the window
has rolled, only the keys and values of the sink may outlive it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from longlive.chunks import latents_digest
from longlive.config import ModelConfig, StreamConfig, size_text, sizes_text
from longlive.errors import ConfigError, SessionFileError
from longlive.generation.session_file import PromptEvent, SessionRecord, describe_models
from longlive.models.bundle import ModelBundle


@dataclass(frozen=True)
class ResumePlan:
    """How to rebuild a session's cache up to where its kept latents end.

    Attributes:
        prompts: of the session, each at the chunk where it takes effect, those still to come included.
        passes: the chunks whose clean pass is run again, under their prompt; the others leave nothing in the
            cache. If the last chunk is none of them, the prompt of the next chunk must recache.
    """

    prompts: tuple[PromptEvent, ...]
    passes: frozenset[int]


def plan_exact(prompts: Sequence[PromptEvent], num_chunks: int, stream: StreamConfig) -> ResumePlan:
    """The plan for the same cache, bit for bit: passes since the last cut or soft switch, and the sink's."""
    events = tuple(one_per_chunk(prompts))
    used = [event for event in events if event.chunk < num_chunks]
    return ResumePlan(events, _passes(used, num_chunks, stream))


def plan_quick(prompts: Sequence[PromptEvent], num_chunks: int, stream: StreamConfig) -> ResumePlan:
    """A plan that does not grow with the video: the last prompt is set again, softly, at the next chunk.

    Nothing is added where a cut or a soft switch is due there anyway. The exact plan is used where it is as
    short: where it has no more passes than a window has chunks, or where the window is endless and so the
    recache as long. A ``keep`` that is due there waits for a chunk.
    """
    exact, enough = plan_exact(prompts, num_chunks, stream), stream.chunks_in_window
    if enough is None or len(exact.passes) <= enough:
        return exact
    used = [event for event in exact.prompts if event.chunk < num_chunks]
    pending = exact.prompts[len(used) :]
    again = PromptEvent(num_chunks, used[-1].text, "soft")
    if not any(event.chunk == num_chunks and event.switch in ("soft", "hard") for event in pending):
        pending = (again, *pending)
    return ResumePlan(tuple(one_per_chunk((*used, *pending))), _passes([*used, again], num_chunks, stream))


def one_per_chunk(prompts: Sequence[PromptEvent]) -> Iterator[PromptEvent]:
    """Each prompt at the chunk where it takes effect: none before its time, at most one at each chunk."""
    free = 0
    for event in prompts:
        free = max(free, event.chunk)
        yield replace(event, chunk=free)
        free += 1


def check_models(models: ModelBundle, record: SessionRecord) -> ModelBundle:
    """The model at the record's size.

    Raises:
        SessionFileError: if the record belongs to another model, size, dtype, quantization or cache.
    """
    check_facts(describe_models(models), record)
    return models.at_size(config_of_record(record, models.config).size)


def check_facts(here: Mapping[str, Any], record: SessionRecord) -> None:
    """As ``check_models``, but for the size, where the model is known by what ``describe_models`` says."""
    cure = f"Load the model {record.model!r} as it was then; replay --remix makes its prompts with this one."
    _check_same("model", record.model_digest, here["model_digest"], cure)
    _check_same("dtype", record.dtype, here["dtype"], "Load the model in that dtype.")
    for name, option in (("quantization", "--quantize"), ("cache", "--cache")):
        recorded = getattr(record, name)
        _check_same(name, recorded, here[name], f"Load the model with {option} {recorded}.")


def config_of_record(record: SessionRecord, config: ModelConfig) -> ModelConfig:
    """A model's config at the size of a record; SessionFileError if the model does not have it."""
    try:
        return config.at(record.size)
    except ConfigError as error:
        raise SessionFileError(
            f"The pictures of this video have {size_text(record.size)} pixels, but {config.name} makes "
            f"{sizes_text(config.all_sizes)} here. Use the model as it was then."
        ) from error


def check_latents(
    record: SessionRecord, latents: Sequence[Tensor], config: ModelConfig, dtype: torch.dtype
) -> list[Tensor]:
    """The latents of all chunks, cast to ``dtype``, on the device where they were given.

    Raises:
        SessionFileError: if they are not those of the record.
    """
    if len(latents) != len(record.chunks):
        raise SessionFileError(
            f"The latents of {len(latents)} chunks were kept, but the session file has "
            f"{len(record.chunks)} chunks. Give the latents of all of them, from the first."
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
                f"but {digest} is expected. They are damaged, or of another session: make its chunks again."
            )
    return clean


def _check_same(what: str, recorded: str, here: str, cure: str) -> None:
    if recorded != here:
        raise SessionFileError(
            f"The session file was made with another {what}: {recorded[:16]}; here it is {here[:16]}. {cure}"
        )


def _passes(events: Sequence[PromptEvent], num_chunks: int, stream: StreamConfig) -> frozenset[int]:
    """The chunks to remember again when ``events`` are in use and ``num_chunks`` chunks have been made."""
    hard = max((event.chunk for event in events if event.switch == "hard"), default=0)
    cut = _rollout_start(hard, num_chunks, stream)
    softs = [event.chunk for event in events if event.switch == "soft" and event.chunk > cut]
    if not softs:
        return frozenset(range(cut, num_chunks))
    last = softs[-1]
    sinks = {last}
    if stream.global_sink and stream.sink and _has_rolled(last - cut, stream):
        # No later recache reached the sink: it is as the last one that did, or the cut, left it.
        first = max((chunk for chunk in softs if not _has_rolled(chunk - cut, stream)), default=cut)
        sinks = {first, *range(first, cut - (-stream.sink // stream.chunk))}
    return frozenset(range(last, num_chunks)) | (sinks - {num_chunks})


def _rollout_start(cut: int, num_chunks: int, stream: StreamConfig) -> int:
    """The chunk that the rollout of the last chunk began with; the cut itself if the window slides.

    A rollout counts once all that it repeats was made: from then on nothing before it is needed.
    """
    if not stream.overlap:
        return cut
    length, repeated = (stream.window - stream.overlap) // stream.chunk, stream.overlap // stream.chunk
    return cut + max(0, num_chunks - cut - repeated) // length * length


def _has_rolled(num_chunks: int, stream: StreamConfig) -> bool:
    return stream.window != -1 and num_chunks * stream.chunk > stream.window
