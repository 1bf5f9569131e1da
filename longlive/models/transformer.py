"""The causal Wan transformer: one set of weights for streaming, training, teacher and critic.

Parameter names are those of diffusers' ``WanTransformer3DModel``; the arithmetic is Wan 2.1's, modulated per
latent, so that the latents of one call may have different timesteps. State is passed in, never stored.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from longlive.config import TransformerConfig
from longlive.models.attention import SDPA, Attention, AttentionContext, Backend, PromptKV, attend
from longlive.models.kv_cache import Cache
from longlive.models.rope import Rope, rotate

SINUSOID_BASE = 10000.0


class CausalWanTransformer(nn.Module):
    """Noisy latents, their timestep, a prompt and a KV cache -> the raw prediction.

    ``config.prediction`` says whether that is a velocity or clean latents; see generation/flow_matching.py.

    Attributes:
        checkpointing: for training; the backward pass runs each block again instead of keeping its
            activations. A cache must then be a ListCache.
        backend: computes the self-attention; see runtime/attention_backends.py.
        pass_runner: replays captured passes instead of launching them again; see runtime/cuda_graphs.py.
        fused: runs all blocks of a streaming pass by fused kernels; see runtime/fused_blocks.py.
    """

    blocks: Sequence["Block"]

    def __init__(self, config: TransformerConfig) -> None:
        """A transformer with fresh weights: Xavier-uniform matrices, zero biases."""
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.backend: Backend = SDPA
        self.pass_runner: PassRunner | None = None
        self.fused: FusedPass | None = None
        dim, patch = config.dim, config.patch_size
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, kernel_size=patch, stride=patch)
        self.condition_embedder = ConditionEmbedder(config)
        blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.blocks = blocks  # type: ignore[assignment]
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, config.out_channels * math.prod(patch))
        self.rope = Rope(config.attention_head_dim, config.rope_max_seq_len)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def read_prompt(self, tokens: Tensor) -> PromptKV:
        """Keys and values of a prompt for every layer; all rows are attended to, padding too, as in Wan.

        Args:
            tokens: (B, text_len, text_dim), those of a PromptEmbedding; of any dtype.
        """
        embedder = self.condition_embedder.text_embedder
        text = embedder(tokens.to(embedder.linear_1.weight.dtype))
        pairs = [block.read_prompt(text) for block in self.blocks]
        return PromptKV([keys for keys, _ in pairs], [values for _, values in pairs])

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        prompt: PromptKV,
        cache: Cache | None = None,
        *,
        start: int = 0,
    ) -> Tensor:
        """The raw prediction for ``latents``; with a cache, their keys and values are stored in it.

        Args:
            latents: (B, F, C, H, W), noisy; they see each other both ways.
            timestep: in [0, 1000]; one number, or a tensor that broadcasts to (B, F).
            prompt: of ``read_prompt``; its batch is B or 1.
            cache: of the latents before; None attends to this clip alone (teacher and critic).
            start: number of the first latent since the start of the video.

        Returns:
            (B, F, C_out, H, W).
        """
        call = self._begin(latents, timestep, prompt, cache, start)
        if self.pass_runner is None:
            return self._predict(latents, call)
        return self.pass_runner.run("predict", self._predict, latents, call)

    def remember(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        prompt: PromptKV,
        cache: Cache,
        *,
        start: int = 0,
    ) -> tuple[Tensor, ...]:
        """Leave in the cache what ``forward`` does, without the work that only its result needs.

        Returns:
            keys and values of the last block; FSDP2 gathers parameters for the backward pass by them. Nothing
            where ``fused`` runs the pass, which carries no gradients.
        """
        call = self._begin(latents, timestep, prompt, cache, start)
        if self.pass_runner is None:
            return self._remember(latents, call)
        return self.pass_runner.run("remember", self._remember, latents, call)

    def fuse(self) -> None:
        """Compute queries, keys and values of each self-attention by one product; for inference only."""
        for block in self.blocks:
            block.attn1.fuse()

    def _begin(
        self, latents: Tensor, timestep: float | Tensor, prompt: PromptKV, cache: Cache | None, start: int
    ) -> "Call":
        if latents.ndim != 5 or latents.shape[2] != self.config.in_channels:
            expected = f"(B, F, {self.config.in_channels}, H, W)"
            raise ValueError(f"latents have shape {tuple(latents.shape)}, but {expected} is expected")
        num_latents, height, width = latents.shape[1], latents.shape[3], latents.shape[4]
        rows, columns = height // self.config.patch_size[1], width // self.config.patch_size[2]
        if cache is None:
            context = AttentionContext(self.rope.rotation(range(start, start + num_latents), rows, columns))
        else:
            slots = cache.place(start, num_latents)
            rotation = self.rope.rotation(slots.query_positions, rows, columns)
            positions = slots.key_positions
            visible = None if positions is None else self.rope.rotation(positions, rows, columns)
            context = AttentionContext(rotation, cache, slots, visible)
        time, modulation = self.condition_embedder(timestep, latents.device)
        return Call(context, prompt, time, modulation, rows, columns, self.backend, self.checkpointing)

    def _predict(self, latents: Tensor, call: "Call") -> Tensor:
        x = self._patchify(latents)
        if self.fused is not None and self.fused.accepts(x, call):
            return self._head(self.fused.run(x, call), call)
        for block in self.blocks:
            x = block(x, call)
        return self._head(x, call)

    def _remember(self, latents: Tensor, call: "Call") -> tuple[Tensor, ...]:
        x = self._patchify(latents)
        if self.fused is not None and self.fused.accepts(x, call):
            self.fused.remember(x, call)
            return ()
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, call)
        return last.remember(x, call)

    def _patchify(self, latents: Tensor) -> Tensor:
        """(B, F, C, H, W) -> (B, F, T, dim): the patch convolution as one matrix product."""
        _, rows, columns = self.config.patch_size
        patches = latents.unflatten(4, (-1, columns)).unflatten(3, (-1, rows))
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)
        return F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

    def _head(self, x: Tensor, call: "Call") -> Tensor:
        """(B, F, T, dim) -> (B, F, C_out, H, W)."""
        shift, scale = (self.scale_shift_table + call.time).unsqueeze(-2).unbind(2)
        patches = self.proj_out(modulated_norm(x, shift, scale, self.config.eps))
        _, rows, columns = self.config.patch_size
        patches = patches.unflatten(3, (rows, columns, -1)).unflatten(2, (call.rows, call.columns))
        return patches.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


@dataclass(frozen=True)
class Call:
    """What all layers of one call share.

    Attributes:
        context: what the self-attention sees.
        prompt: what the cross-attention sees.
        time: (b, f, 1, dim), the embedded timestep; b and f are those of the timestep, so often 1.
        modulation: (b, f, 6, dim), the same, projected for the blocks.
        rows, columns: of tokens in a latent frame.
        backend, checkpointing: those of the transformer.
    """

    context: AttentionContext
    prompt: PromptKV
    time: Tensor
    modulation: Tensor
    rows: int
    columns: int
    backend: Backend
    checkpointing: bool


class PassRunner(Protocol):
    """What the transformer needs of a GraphReplayer."""

    def run(self, name: str, run: Callable[[Tensor, Call], Any], latents: Tensor, call: Call) -> Any:
        """Return what ``run(latents, call)`` returns, and leave the same in the cache."""


class FusedPass(Protocol):
    """What the transformer needs of fused blocks."""

    def accepts(self, x: Tensor, call: Call) -> bool:
        """Whether a call can be run by ``run``."""

    def run(self, x: Tensor, call: Call) -> Tensor:
        """Run all blocks on ``x`` (B, F, T, dim), and leave their keys and values in the cache."""

    def remember(self, x: Tensor, call: Call) -> None:
        """Leave the keys and values of all blocks in the cache, without the rest of the last block."""


class Block(nn.Module):
    """Self-attention, cross-attention and a feed-forward network, the first and last modulated by time."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        """Block number ``layer``."""
        super().__init__()
        dim, heads, eps = config.dim, config.num_attention_heads, config.eps
        self.layer = layer
        self.eps = eps
        self.attn1 = Attention(dim, heads, eps)
        self.attn2 = Attention(dim, heads, eps)
        self.norm2 = nn.LayerNorm(dim, eps) if config.cross_attn_norm else nn.Identity()
        self.ffn = FeedForward(dim, config.ffn_dim)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """(B, F, T, dim) -> same shape."""
        if call.checkpointing and torch.is_grad_enabled():
            return checkpoint(self._through, x, call, use_reentrant=False, preserve_rng_state=False)
        return self._through(x, call)

    def read_prompt(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, text_len, N, D) of an embedded prompt (B, text_len, dim)."""
        return self.attn2.keys_values(text)

    def remember(self, x: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """Only store the keys and values of ``x`` (B, F, T, dim) in the cache; return the new ones."""
        tokens = self._modulated(x, self._modulation(call)).flatten(1, 2)
        keys, values = self.attn1.keys_values(tokens)
        call.context.complete(self.layer, _rotate_unless_none(keys, call.context.key_rotation), values)
        return keys, values

    def project_qkv(
        self, x: Tensor, modulation: Tensor, rotation: Tensor, key_rotation: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, L, N, D) of the self-attention.

        Queries are rotated by ``rotation``, keys by ``key_rotation`` (not at all if it is None).
        """
        queries, keys, values = self.attn1.queries_keys_values(self._modulated(x, modulation).flatten(1, 2))
        return rotate(queries, rotation), _rotate_unless_none(keys, key_rotation), values

    def post_attention(
        self, x: Tensor, attended: Tensor, modulation: Tensor, text_keys: Tensor, text_values: Tensor
    ) -> Tensor:
        """The rest of the block after the self-attention, whose output is ``attended`` (B, L, dim)."""
        _, _, gate, shift, scale, ffn_gate = modulation.unbind(2)
        x = torch.addcmul(x, self.attn1.to_out(attended).view_as(x), gate)
        text = attend(self.attn2.queries(self.norm2(x).flatten(1, 2)), text_keys, text_values)
        x = x + self.attn2.to_out(text).view_as(x)
        return torch.addcmul(x, self.ffn(modulated_norm(x, shift, scale, self.eps)), ffn_gate)

    def _through(self, x: Tensor, call: Call) -> Tensor:
        context, modulation, layer = call.context, self._modulation(call), self.layer
        queries, keys, values = self.project_qkv(x, modulation, context.rotation, context.key_rotation)
        attended = call.backend.attend(queries, *context.complete(layer, keys, values))
        return self.post_attention(
            x, attended, modulation, call.prompt.keys[layer], call.prompt.values[layer]
        )

    def _modulation(self, call: Call) -> Tensor:
        """(b, f, 6, 1, dim): shift, scale and gate of the self-attention, then of the feed-forward part."""
        return (self.scale_shift_table + call.modulation).unsqueeze(-2)

    def _modulated(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale, *_ = modulation.unbind(2)
        return modulated_norm(x, shift, scale, self.eps)


def _rotate_unless_none(keys: Tensor, rotation: Tensor | None) -> Tensor:
    return keys if rotation is None else rotate(keys, rotation)


class ConditionEmbedder(nn.Module):
    """The two small networks that embed the timestep and the prompt."""

    def __init__(self, config: TransformerConfig) -> None:
        """Embedders for a transformer of this shape."""
        super().__init__()
        self.freq_dim = config.freq_dim
        self.time_embedder = Mlp(config.freq_dim, config.dim, nn.SiLU())
        self.time_proj = nn.Linear(config.dim, 6 * config.dim)
        self.text_embedder = Mlp(config.text_dim, config.dim, nn.GELU(approximate="tanh"))

    def forward(self, timestep: float | Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The embedded timestep (b, f, 1, dim) and its projection (b, f, 6, dim), both without autocast."""
        if not isinstance(timestep, Tensor):
            timestep = torch.full((1, 1), timestep, dtype=torch.float64, device=device)
        with torch.autocast(device.type, enabled=False):
            rows = timestep.reshape((1,) * (2 - timestep.ndim) + timestep.shape)
            waves = sinusoid(rows, self.freq_dim).to(self.time_proj.weight.dtype)
            time = self.time_embedder(waves)
            return time.unsqueeze(2), self.time_proj(F.silu(time)).unflatten(-1, (6, -1))


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, size: int, dim: int, activation: nn.Module) -> None:
        """From ``size`` channels to ``dim``."""
        super().__init__()
        self.linear_1 = nn.Linear(size, dim)
        self.activation = activation
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., dim)."""
        return self.linear_2(self.activation(self.linear_1(x)))


class FeedForward(nn.Module):
    """Linear, GELU (tanh), linear; the names are diffusers'."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        """``ffn_dim`` channels inside."""
        super().__init__()
        self.net = nn.Sequential(GeluProjection(dim, ffn_dim), nn.Identity(), nn.Linear(ffn_dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> same shape."""
        return self.net(x)


class GeluProjection(nn.Module):
    """A linear layer and a GELU (tanh)."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        """From ``dim`` channels to ``ffn_dim``."""
        super().__init__()
        self.proj = nn.Linear(dim, ffn_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., ffn_dim)."""
        return F.gelu(self.proj(x), approximate="tanh")


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """``layer_norm(x) * (1 + scale) + shift`` for x (B, F, T, dim) and shift, scale (b, f, 1, dim)."""
    return torch.addcmul(shift, F.layer_norm(x, (x.shape[-1],), eps=eps), 1 + scale)


def sinusoid(timesteps: Tensor, size: int) -> Tensor:
    """Cosines, then sines, of ``timesteps`` (...) at ``size / 2`` frequencies; float64 (..., size)."""
    half = size // 2
    steps = torch.arange(half, dtype=torch.float64, device=timesteps.device) / half
    angles = timesteps.double().unsqueeze(-1) * SINUSOID_BASE**-steps
    return torch.cat((angles.cos(), angles.sin()), dim=-1)
