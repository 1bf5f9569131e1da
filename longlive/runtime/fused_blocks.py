"""All blocks of a pass on a GPU, with the small steps between their products and attentions fused.

Steps of neighbouring blocks are fused too: the last sum of one and the first norm of the next are one kernel.
Keys and values are written straight to their slots in the cache. The plain equivalent is ``Block.forward``,
block by block; results differ by rounding alone. Import this module only where Triton is installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longlive.models.attention import Attention
from longlive.models.kv_cache import KVCache
from longlive.models.transformer import Block, Call, CausalWanTransformer
from longlive.runtime.attention_backends import attend_to_prompt
from longlive.runtime.fp8 import Fp8Linear
from longlive.runtime.triton_kernels import Rows, add_norm, norm_and_turn, round_rows

_SHIFT, _SCALE, _GATE, _FFN_SHIFT, _FFN_SCALE, _FFN_GATE = range(6)


@dataclass(frozen=True)
class _State:
    """A block's output before its last sum, ``x + gate * added``: (L, dim) each, ``gate`` (dim,)."""

    x: Tensor
    added: Tensor | None = None
    gate: Tensor | None = None


class FusedBlocks:
    """Runs the blocks of a transformer that streams, for the calls that it ``accepts``."""

    def __init__(self, transformer: CausalWanTransformer) -> None:
        """For a transformer on its device and in its dtype, quantised already if it is to be."""
        self._blocks = list(transformer.blocks)
        self._tables = torch.cat([block.scale_shift_table.detach() for block in self._blocks])
        self._products = [_Product.of_queries_keys_values(block.attn1) for block in self._blocks]

    @staticmethod
    def can_run(transformer: CausalWanTransformer) -> bool:
        """Whether the layers of a transformer's blocks are of the types that are fused here."""
        return all(
            isinstance(block.norm2, nn.LayerNorm)
            and all(_is_known(layer) for layer in (block.attn1.to_q, _first(block), _second(block)))
            for block in transformer.blocks
        )

    def accepts(self, x: Tensor, call: Call) -> bool:
        """Whether a call is of a stream: one video, one timestep for all latents, a KVCache, no gradient."""
        return (
            len(x) == 1
            and call.modulation.shape[:2] == (1, 1)
            and len(call.prompt.keys[0]) == 1
            and isinstance(call.context.cache, KVCache)
            and not torch.is_grad_enabled()
        )

    def run(self, x: Tensor, call: Call) -> Tensor:
        """Run all blocks on ``x`` (1, F, T, dim), and leave their keys and values in the cache."""
        state = self._run_blocks(x, call, self._modulations(call), self._blocks)
        assert state.added is not None and state.gate is not None
        return torch.addcmul(state.x, state.added, state.gate).view_as(x)

    def remember(self, x: Tensor, call: Call) -> None:
        """Leave the keys and values of all blocks in the cache, without the rest of the last block."""
        *before, last = self._blocks
        modulations, attention = self._modulations(call), last.attn1
        _, tokens = self._begin(last, self._run_blocks(x, call, modulations, before), modulations[last.layer])
        products = self._products[last.layer].keys_and_values()(tokens)
        keys, values = products.unflatten(1, (2, attention.num_heads, -1)).unbind(1)
        _keep(attention, last.layer, call, keys, values)

    def _modulations(self, call: Call) -> Tensor:
        """(layers, 6, dim)."""
        return self._tables + call.modulation[0]

    def _run_blocks(self, x: Tensor, call: Call, modulations: Tensor, blocks: Sequence[Block]) -> _State:
        """Run blocks on ``x`` (1, F, T, dim), but for the last sum."""
        state = _State(x.flatten(0, 2).contiguous())
        for block, modulation in zip(blocks, modulations, strict=False):
            state = self._through_block(block, state, modulation, call)
        return state

    def _through_block(self, block: Block, state: _State, modulation: Tensor, call: Call) -> _State:
        layer, attn1, attn2, norm2 = block.layer, block.attn1, block.attn2, block.norm2
        assert isinstance(norm2, nn.LayerNorm)
        x, tokens = self._begin(block, state, modulation)
        seen = attn1.to_out(self._attend(layer, attn1, call, self._products[layer](tokens)))
        x, tokens = add_norm(
            x, norm2.weight, norm2.bias, block.eps, added=seen, gate=modulation[_GATE], plus_one=False
        )
        read = attn2.to_out(_read(attn2, tokens, call.prompt.keys[layer], call.prompt.values[layer]))
        multiplier, shift = modulation[_FFN_SCALE], modulation[_FFN_SHIFT]
        is_rounded = isinstance(_first(block), Fp8Linear)
        x, tokens = add_norm(x, multiplier, shift, block.eps, added=read, rounded=is_rounded)
        return _State(x, _feed_forward(block, tokens), modulation[_FFN_GATE])

    def _begin(self, block: Block, state: _State, modulation: Tensor) -> tuple[Tensor, Tensor | Rows]:
        """The last sum of the block before, and its modulated norm."""
        return add_norm(
            state.x,
            modulation[_SCALE],
            modulation[_SHIFT],
            block.eps,
            added=state.added,
            gate=state.gate,
            rounded=self._products[block.layer].is_rounded,
        )

    def _attend(self, layer: int, attention: Attention, call: Call, products: Tensor) -> Tensor:
        """Self-attention (L, dim) of what the product of the three gave, (L, 3 dim)."""
        context, norm, cache = call.context, attention.norm_q, call.context.cache
        assert isinstance(cache, KVCache) and context.slots is not None
        queries, keys, values = products.unflatten(1, (3, attention.num_heads, -1)).unbind(1)
        turned = torch.empty_like(queries, memory_format=torch.contiguous_format)
        norm_and_turn(queries, turned, weight=norm.weight, rotation=context.rotation, eps=norm.eps)
        _keep(attention, layer, call, keys, values)
        keys, values = cache.visible(layer, context.slots)
        if context.visible_rotation is not None:
            keys = norm_and_turn(keys[0], torch.empty_like(keys[0]), rotation=context.visible_rotation)[None]
        return call.backend.attend(turned[None], keys, values)[0]


class _Product:
    """Queries, keys and values by one product, plain or in 8-bit floats."""

    def __init__(self, weight: tuple[Tensor, Tensor] | Fp8Linear) -> None:
        self._weight = weight
        self.is_rounded = isinstance(weight, Fp8Linear)

    @classmethod
    def of_queries_keys_values(cls, attention: Attention) -> "_Product":
        layers: tuple[nn.Module, ...] = (attention.to_q, attention.to_k, attention.to_v)
        rounded = [layer for layer in layers if isinstance(layer, Fp8Linear)]
        return cls(Fp8Linear.joined(rounded) if rounded else attention.fuse())

    def keys_and_values(self) -> "_Product":
        """That of keys and values alone; it shares the memory."""
        if isinstance(self._weight, Fp8Linear):
            return _Product(self._weight.rows(len(self._weight.bias) // 3))
        weight, bias = self._weight
        return _Product((weight[len(weight) // 3 :], bias[len(bias) // 3 :]))

    def __call__(self, tokens: Tensor | Rows) -> Tensor:
        """(L, dim) -> (L, channels)."""
        if isinstance(self._weight, Fp8Linear):
            assert isinstance(tokens, Rows)
            return self._weight.product(*tokens)
        assert isinstance(tokens, Tensor)
        return F.linear(tokens, *self._weight)


def _keep(attention: Attention, layer: int, call: Call, keys: Tensor, values: Tensor) -> None:
    """Put keys and values (L, N, D) into the cache, the keys normed and turned on their way."""
    context, norm, cache = call.context, attention.norm_k, call.context.cache
    assert isinstance(cache, KVCache) and context.slots is not None
    for source, kept_keys, kept_values in cache.slot_views(layer, context.slots):
        rotation = None if context.key_rotation is None else context.key_rotation[source]
        norm_and_turn(keys[source], kept_keys[0], weight=norm.weight, rotation=rotation, eps=norm.eps)
        norm_and_turn(values[source], kept_values[0])


def _read(attention: Attention, tokens: Tensor | Rows, keys: Tensor, values: Tensor) -> Tensor:
    """Cross-attention of tokens (L, dim) to a prompt, (L, dim)."""
    queries = attention.to_q(tokens).unflatten(1, (attention.num_heads, -1))
    norm = attention.norm_q
    queries = norm_and_turn(queries, queries, weight=norm.weight, eps=norm.eps)[None]
    return attend_to_prompt(queries, keys, values)[0]


def _feed_forward(block: Block, tokens: Tensor | Rows) -> Tensor:
    """(L, dim) -> (L, dim)."""
    first, second = _first(block), _second(block)
    if isinstance(first, Fp8Linear):
        assert isinstance(tokens, Rows) and isinstance(second, Fp8Linear)
        return second.product(*round_rows(first.product(*tokens), gelu=True))
    assert isinstance(tokens, Tensor)
    if tokens.is_cuda:  # GELU by the tanh formula within the product; on a CPU it would be by another
        return second(torch._addmm_activation(first.bias, tokens, first.weight.t(), use_gelu=True))
    return second(F.gelu(first(tokens), approximate="tanh"))


def _first(block: Block) -> Any:
    return block.ffn.net[0].proj


def _second(block: Block) -> Any:
    return block.ffn.net[2]


def _is_known(layer: nn.Module) -> bool:
    """Not one whose weight is a tensor of a kind of its own, as torchao's are."""
    return isinstance(layer, Fp8Linear) or (type(layer) is nn.Linear and type(layer.weight) is nn.Parameter)
