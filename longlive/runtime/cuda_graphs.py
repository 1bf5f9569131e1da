"""Passes recorded once and played again: a CUDA graph for each kind of placement of a stream.

A stream has few kinds of passes: one per length while the window fills, then one per place of the chunk in
the ring, each with and without the head. What differs between two passes of a kind is copied into fixed
buffers before the recording is played; the cache's storage is fixed already.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from longlive.models.attention import PromptKV
from longlive.models.kv_cache import KVCache
from longlive.models.transformer import Call

Run = Callable[[], Any]
Tape = Callable[[Run], tuple[Callable[[], None], Any]]
"""Records what a function does; gives what plays it again, and its result, which each playing overwrites."""


class GraphReplayer:
    """Records passes of streams that have a KVCache; all others run as they are.

    The cache owns what is recorded of it, so that it is freed with the stream.
    """

    def __init__(self, tape: Tape | None = None) -> None:
        """Record on ``tape``; CUDA graphs if none is given."""
        self._tape = tape or CudaGraphCapture()

    def play(self, name: str, run: Callable[[Tensor, Call], Any], latents: Tensor, call: Call) -> Any:
        """What ``run(latents, call)`` returns and leaves in the cache.

        Args:
            name: what ``run`` is; recordings of one name are alike.
            latents, call: as the transformer makes them.
        """
        cache, slots = call.context.cache, call.context.slots
        if not isinstance(cache, KVCache) or slots is None or torch.is_grad_enabled():
            return run(latents, call)
        stage: _Stage = cache.recordings.setdefault("stage", _Stage())
        fixed_latents, fixed_call = stage.set(latents, call)
        key = (name, str(slots.writes), len(slots.visible), _shapes(latents, call))
        if key not in cache.recordings:
            cache.recordings[key] = self._tape(lambda: run(fixed_latents, fixed_call))
        else:
            play, _ = cache.recordings[key]
            play()
        return pytree.tree_map(torch.clone, cache.recordings[key][1])


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
        memory = PromptKV(
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
    """Records CUDA graphs, which share one pool of memory: they are played one after another."""

    def __init__(self) -> None:
        """Nothing is asked of the device before the first recording."""
        self._pool: Any = None

    def __call__(self, run: Run) -> tuple[Callable[[], None], Any]:
        """Record what ``run`` launches; it runs once before, for libraries to get ready."""
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            run()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as an encoder's, may use the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = run()
        graph.replay()
        return graph.replay, result


def eager_capture(run: Run) -> tuple[Callable[[], None], Any]:
    """The plain twin of a CudaTape, for any device: what is played runs again."""
    result = run()

    def play() -> None:
        pytree.tree_map(Tensor.copy_, result, run())

    return play, result
