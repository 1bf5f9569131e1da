"""Passes recorded once and played again: a CUDA graph for each kind of placement of a stream.

Once its window is full, a stream has few kinds of passes: one per place of the chunk in the ring, each with
    and
without the head. What differs between two passes of a kind is copied into fixed buffers before the recording
is played; the cache's storage is fixed already.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from longlive.models.attention import PromptMemory
from longlive.models.kv_cache import KVCache, SlotMapping
from longlive.models.transformer import Call

Run = Callable[[], Any]
Tape = Callable[[Run], tuple[Callable[[], None], Any]]
"""Records what a function does; gives what plays it again, and its result, which each playing overwrites."""


class GraphReplayer:
    """Records the passes over a chunk of streams that have a KVCache and whose window is full.

    All others run as they are: while the window fills there are too few of a kind, and a recache is so long
        that
    its launches cost nothing; a viewer would only wait for the recording. The first pass of a kind runs as it
    is too, so that libraries get ready.

    The cache owns what is recorded of it, and the tape, so that all is freed with the stream.
    """

    def __init__(self, new_tape: Callable[[], Tape] | None = None) -> None:
        """Record each cache on a tape of its own; CUDA graphs if none is given."""
        self._new_tape = new_tape or CudaGraphCapture

    def play(self, name: str, run: Callable[[Tensor, Call], Any], latents: Tensor, call: Call) -> Any:
        """What ``run(latents, call)`` returns and leaves in the cache.

        Args:
            name: what ``run`` is; recordings of one name are alike.
            latents, call: as the transformer makes them.
        """
        cache, slots = call.context.cache, call.context.slots
        if not isinstance(cache, KVCache) or slots is None or not _is_steady(cache, slots):
            return run(latents, call)
        recordings = cache.recordings
        key = (name, str(slots.writes), _shapes(latents, call))
        if key not in recordings:
            recordings[key] = None
            return run(latents, call)
        stage: _Stage = recordings.setdefault("stage", _Stage())
        fixed_latents, fixed_call = stage.set(latents, call)
        if recordings[key] is None:
            tape: Tape = recordings.setdefault("tape", self._new_tape())
            recordings[key] = tape(lambda: run(fixed_latents, fixed_call))
        else:
            play, _ = recordings[key]
            play()
        return pytree.tree_map(torch.clone, recordings[key][1])


def _is_steady(cache: KVCache, slots: SlotMapping) -> bool:
    is_full, is_chunk = (
        len(slots.visible) == cache.stream.window,
        slots.num_latents == cache.stream.chunk,
    )
    return is_full and is_chunk and not torch.is_grad_enabled()


@dataclass
class _Stage:
    """Fixed buffers for what passes read, by place and shape, and what each holds a copy of."""

    buffers: dict[Any, Tensor] = field(default_factory=dict)
    held: dict[Any, Tensor] = field(default_factory=dict)

    def set(self, latents: Tensor, call: Call) -> tuple[Tensor, Call]:
        """The same latents and call, made of buffers; what they hold already is not copied again."""
        context, prompt = call.context, call.prompt
        turned, visible = context.rotation, context.visible_rotation
        context = dataclasses.replace(
            context,
            rotation=self._put("rotation", turned),
            visible_rotation=None if visible is None else self._put("visible", visible),
        )
        memory = PromptMemory(
            [self._put(("keys", layer), keys) for layer, keys in enumerate(prompt.keys)],
            [self._put(("values", layer), values) for layer, values in enumerate(prompt.values)],
        )
        time, modulation = self._put("time", call.time), self._put("modulation", call.modulation)
        fixed = dataclasses.replace(call, context=context, prompt=memory, time=time, modulation=modulation)
        return self._put("latents", latents), fixed

    def _put(self, place: Any, tensor: Tensor) -> Tensor:
        key = (place, tensor.shape, tensor.dtype)
        if key not in self.buffers:
            self.buffers[key] = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        if self.held.get(key) is not tensor:
            self.buffers[key].copy_(tensor)
            self.held[key] = tensor
        return self.buffers[key]


def _shapes(latents: Tensor, call: Call) -> tuple[Any, ...]:
    return tuple((tensor.shape, tensor.dtype) for tensor in _tensors(latents, call))


def _tensors(latents: Tensor, call: Call) -> Iterator[Tensor]:
    yield from (latents, call.time, call.modulation, call.context.rotation, call.prompt.keys[0])
    if call.context.visible_rotation is not None:
        yield call.context.visible_rotation


class CudaGraphCapture:
    """Records CUDA graphs, which share one pool of memory: they are played one after another.

    The pool lives as long as one of them. Once all are gone it must not be used again, so whoever owns the
    graphs owns the tape too.
    """

    def __init__(self) -> None:
        """Nothing is asked of the device before the first recording."""
        self._pool: Any = None

    def __call__(self, run: Run) -> tuple[Callable[[], None], Any]:
        """Record what ``run`` launches, and play it once; the like of it must have run before."""
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as an encoder's, may use the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = run()
        graph.replay()
        return graph.replay, result


class EagerCapture:
    """The plain twin of a CudaGraphCapture, for any device: what is played runs again."""

    def __call__(self, run: Run) -> tuple[Callable[[], None], Any]:
        """As CudaGraphCapture."""
        result = run()

        def play() -> None:
            pytree.tree_map(Tensor.copy_, result, run())

        return play, result
