"""Passes captured once and replayed: a CUDA graph for each place of a chunk in a stream's full window.

Once its window is full, a stream has few kinds of passes: one per place of the chunk in the ring, each with
and without the head. What differs between two passes of a kind is copied into static buffers before the
graph is replayed; the cache's storage does not move.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from longlive.models.attention import PromptKV
from longlive.models.kv_cache import KVCache, SlotMapping
from longlive.models.transformer import Call

Run = Callable[[], Any]
Replay = Callable[[], None]
Capture = Callable[[Run], tuple[Replay, Any]]
"""Runs a function and captures it; returns how to replay it, and its result, which each replay overwrites."""


class GraphReplayer:
    """Captures the passes over a chunk of streams that have a KVCache and whose window is full.

    All others run eagerly: while the window fills, no kind of pass comes often, and a recache is so long that
    its launches do not matter; a viewer would only wait for the capture. The first pass of a kind runs
    eagerly too, so that libraries initialize.

    The cache owns its graphs and what captured them, so that all is freed with the stream.
    """

    def __init__(self, new_capture: Callable[[], Capture] | None = None) -> None:
        """Capture with one ``new_capture()`` per cache; CUDA graphs by default."""
        self._new_capture = new_capture or CudaGraphCapture

    def run(self, name: str, run: Callable[[Tensor, Call], Any], latents: Tensor, call: Call) -> Any:
        """Return what ``run(latents, call)`` returns, and leave the same in the cache.

        Args:
            name: of ``run``; passes of one name are alike.
            latents, call: as the transformer makes them.
        """
        cache, slots = call.context.cache, call.context.slots
        if not isinstance(cache, KVCache) or slots is None or not _is_steady(cache, slots):
            return run(latents, call)
        captured = cache.captured
        key = (name, str(slots.writes), _shapes(latents, call))
        if key not in captured:
            captured[key] = None
            return run(latents, call)
        inputs: _StaticInputs = captured.setdefault("inputs", _StaticInputs())
        static_latents, static_call = inputs.fill(latents, call)
        if captured[key] is None:
            capture: Capture = captured.setdefault("capture", self._new_capture())
            captured[key] = capture(lambda: run(static_latents, static_call))
        else:
            replay, _ = captured[key]
            replay()
        return pytree.tree_map(torch.clone, captured[key][1])


def _is_steady(cache: KVCache, slots: SlotMapping) -> bool:
    is_full = len(slots.visible) == cache.stream.window
    is_chunk = slots.num_latents == cache.stream.chunk
    return is_full and is_chunk and not torch.is_grad_enabled()


@dataclass
class _StaticInputs:
    """Static buffers for what passes read, by place and shape, and the tensor that each holds a copy of."""

    buffers: dict[Any, Tensor] = field(default_factory=dict)
    copied: dict[Any, Tensor] = field(default_factory=dict)

    def fill(self, latents: Tensor, call: Call) -> tuple[Tensor, Call]:
        """The same latents and call, made of buffers; what they hold already is not copied again."""
        context, prompt = call.context, call.prompt
        rotation, visible = context.rotation, context.visible_rotation
        context = dataclasses.replace(
            context,
            rotation=self._put("rotation", rotation),
            visible_rotation=None if visible is None else self._put("visible", visible),
        )
        static_prompt = PromptKV(
            [self._put(("keys", layer), keys) for layer, keys in enumerate(prompt.keys)],
            [self._put(("values", layer), values) for layer, values in enumerate(prompt.values)],
        )
        time, modulation = self._put("time", call.time), self._put("modulation", call.modulation)
        static = dataclasses.replace(
            call, context=context, prompt=static_prompt, time=time, modulation=modulation
        )
        return self._put("latents", latents), static

    def _put(self, place: Any, tensor: Tensor) -> Tensor:
        key = (place, tensor.shape, tensor.dtype)
        if key not in self.buffers:
            self.buffers[key] = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        if self.copied.get(key) is not tensor:
            self.buffers[key].copy_(tensor)
            self.copied[key] = tensor
        return self.buffers[key]


def _shapes(latents: Tensor, call: Call) -> tuple[Any, ...]:
    return tuple((tensor.shape, tensor.dtype) for tensor in _tensors(latents, call))


def _tensors(latents: Tensor, call: Call) -> Iterator[Tensor]:
    yield from (latents, call.time, call.modulation, call.context.rotation, call.prompt.keys[0])
    if call.context.visible_rotation is not None:
        yield call.context.visible_rotation


class CudaGraphCapture:
    """Captures CUDA graphs that share one pool of memory, since they are replayed one after another.

    The pool lives as long as one of its graphs, and must not be used after the last is gone, so whoever owns
    the graphs owns this too.
    """

    def __init__(self) -> None:
        """Nothing is asked of the device before the first capture."""
        self._pool: Any = None

    def __call__(self, run: Run) -> tuple[Replay, Any]:
        """Capture what ``run`` launches, and replay it once; a pass like it must have run before."""
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as an encoder's, may use the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = run()
        graph.replay()
        return graph.replay, result


class EagerCapture:
    """The plain equivalent of CudaGraphCapture, for any device: a replay runs the function again."""

    def __call__(self, run: Run) -> tuple[Replay, Any]:
        """Run it; a replay copies the new result over this one."""
        result = run()

        def replay() -> None:
            pytree.tree_map(Tensor.copy_, result, run())

        return replay, result
