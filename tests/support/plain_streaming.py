"""The training rollout once more, written from the documents alone, with nothing of ours in it.

``semantics.md`` sections 2, 3, 4 and 6 and ``streaming_tuning.md``: a buffer that really rolls, written in
place under autograd, and the transformer by its released names. Slow, small, and meant to be compared with.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass
class Plain:
    """A stream of the plain model.

    Attributes:
        weights: by released names.
        facts: the configuration in the reference's words, with window, sink and chunk.
        released: with the released training's faults; else as inference does it, and without leaks.
        leaks, checkpointed: of a released run: whether the exit pass' history stays in the buffer, and
            whether gradient checkpointing is on.
    """

    weights: Weights
    facts: dict
    text: Tensor
    released: bool
    leaks: bool = True
    checkpointed: bool = False
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    crossed: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    written: int = 0
    filled: int = 0

    def __post_init__(self) -> None:
        heads = self.facts["num_heads"]
        self.tokens = self.facts["tokens_per_frame"]
        self.capacity = self.facts["local_attn_size"] + (21 if self.released else 0)
        size = (len(self.text), self.capacity * self.tokens, heads, self.facts["dim"] // heads)
        self.keys = [torch.zeros(size) for _ in range(self.facts["num_layers"])]
        self.values = [torch.zeros(size) for _ in range(self.facts["num_layers"])]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def forward(self, latents: Tensor, timestep: float, start: int, *, rewrite_sink: bool = False) -> Tensor:
        """The flow of (B, F, C, H, W); the buffer is written after the last layer."""
        batch, frames, _, height, width = latents.shape
        grid = (frames, height // 2, width // 2)
        patches = F.conv3d(
            latents.transpose(1, 2),
            self.weights["patch_embedding.weight"],
            self.weights["patch_embedding.bias"],
            stride=(1, 2, 2),
        )
        x = patches.flatten(2).transpose(1, 2)
        time = self.embedded(timestep)
        modulation = self.linear("time_projection.1", F.silu(time)).view(6, -1)
        text = self.linear(
            "text_embedding.2", F.gelu(self.linear("text_embedding.0", self.text), approximate="tanh")
        )
        writes = []
        for layer in range(self.facts["num_layers"]):
            x, write = self.block(layer, x, modulation, text, grid, start, rewrite_sink)
            writes.append(write)
        self.commit(writes, start, frames)
        shift, scale = (self.weights["head.modulation"][0] + time).unbind(0)
        out = self.linear(
            "head.head", F.layer_norm(x, x.shape[-1:], eps=self.facts["eps"]) * (1 + scale) + shift
        )
        out = out.view(batch, *grid, 1, 2, 2, -1)
        return torch.einsum("bfhwpqrc->bfpchqwr", out).reshape(batch, frames, -1, height, width)

    def embedded(self, timestep: float) -> Tensor:
        half = self.facts["freq_dim"] // 2
        angles = timestep * 10000 ** (-torch.arange(half, dtype=torch.float64) / half)
        waves = torch.cat((angles.cos(), angles.sin())).float()
        return self.linear("time_embedding.2", F.silu(self.linear("time_embedding.0", waves)))

    def block(self, layer, x, modulation, text, grid, start, rewrite_sink):
        name, eps = f"blocks.{layer}", self.facts["eps"]
        e = (self.weights[f"{name}.modulation"][0] + modulation).unbind(0)
        normed = F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + e[1]) + e[0]
        q, k, v = (self.heads(f"{name}.self_attn", kind, normed) for kind in "qkv")
        q, k = self.rotated(q, grid, start), self.rotated(k, grid, start)
        write = self.written_slots(k, v, start, grid[0], rewrite_sink)
        seen_k, seen_v = self.visible(layer, write)
        attended = attention(q, seen_k, seen_v)
        x = x + e[2] * self.linear(f"{name}.self_attn.o", attended)
        weight, bias = self.weights[f"{name}.norm3.weight"], self.weights[f"{name}.norm3.bias"]
        q = self.heads(f"{name}.cross_attn", "q", F.layer_norm(x, x.shape[-1:], weight, bias, eps))
        x = x + self.linear(f"{name}.cross_attn.o", attention(q, *self.text_pair(layer, name, text)))
        normed = F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + e[4]) + e[3]
        inner = F.gelu(self.linear(f"{name}.ffn.0", normed), approximate="tanh")
        return x + e[5] * self.linear(f"{name}.ffn.2", inner), write

    def heads(self, name: str, kind: str, x: Tensor) -> Tensor:
        y = self.linear(f"{name}.{kind}", x)
        if kind in "qk":
            y = (
                y
                * (y.square().mean(-1, keepdim=True) + self.facts["eps"]).rsqrt()
                * self.weights[f"{name}.norm_{kind}.weight"]
            )
        return y.view(*y.shape[:2], self.facts["num_heads"], -1)

    def text_pair(self, layer: int, name: str, text: Tensor) -> tuple[Tensor, Tensor]:
        """Kept from the first call after a reset, but computed anew in a checkpointed pass with gradients."""
        fresh = not self.released or (self.checkpointed and torch.is_grad_enabled())
        if not fresh and layer < len(self.crossed):
            return self.crossed[layer]
        pair = (self.heads(f"{name}.cross_attn", "k", text), self.heads(f"{name}.cross_attn", "v", text))
        if not fresh:
            self.crossed.append(pair)
        return pair

    def rotated(self, x: Tensor, grid: tuple[int, int, int], start: int) -> Tensor:
        half = x.shape[-1] // 2
        space = half // 3
        axes = (torch.arange(start, start + grid[0]), torch.arange(grid[1]), torch.arange(grid[2]))
        places = torch.cartesian_prod(*axes).double()
        parts = []
        for axis, size in enumerate((half - 2 * space, space, space)):
            rates = 10000 ** (-torch.arange(size, dtype=torch.float64) / size)
            parts.append(places[:, axis, None] * rates)
        turn = torch.polar(torch.ones(1, dtype=torch.float64), torch.cat(parts, 1))[:, None]
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turn).flatten(-2).float()

    def written_slots(self, k, v, start, frames, rewrite_sink):
        """(keys, values, first slot, end slot, frames evicted), by section 2 of semantics.md."""
        end, sink = start + frames, self.facts["sink_size"]
        evict = max(0, self.filled + frames - self.capacity) if end > self.written else 0
        last = self.filled + (end - self.written if end > self.written else 0) - evict
        last -= max(0, self.written - end)
        first = last - frames
        if end <= self.written and start > 0 and not rewrite_sink:
            skipped = max(0, sink - first)
            k, v, first = k[:, skipped * self.tokens :], v[:, skipped * self.tokens :], first + skipped
        return k, v, first, last, evict

    def visible(self, layer: int, write) -> tuple[Tensor, Tensor]:
        buffers = self.keys[layer].clone(), self.values[layer].clone()
        for buffer, new in zip(buffers, write[:2], strict=True):
            self.put(buffer, new, *write[2:])
        sink, window = self.facts["sink_size"], self.facts["local_attn_size"]
        near = slice(max(sink, write[3] - (window - sink)) * self.tokens, write[3] * self.tokens)
        return tuple(torch.cat((buffer[:, : sink * self.tokens], buffer[:, near]), 1) for buffer in buffers)

    def put(self, buffer: Tensor, new: Tensor, first: int, last: int, evict: int) -> None:
        """Roll the slots after the sink to the left, then write, in place."""
        if evict:
            sink, gone = self.facts["sink_size"] * self.tokens, evict * self.tokens
            buffer[:, sink:-gone] = buffer[:, sink + gone :].clone()
        buffer[:, first * self.tokens : last * self.tokens] = new

    def commit(self, writes, start: int, frames: int) -> None:
        for layer, (k, v, *where) in enumerate(writes):
            cut = not (self.released and self.leaks)
            for buffer, new in ((self.keys[layer], k), (self.values[layer], v)):
                self.put(buffer, new.detach() if cut else new, *where)
        if start + frames > self.written:
            self.filled, self.written = writes[0][3], start + frames

    def detach(self) -> None:
        self.keys, self.values = [k.detach() for k in self.keys], [v.detach() for v in self.values]
        self.crossed = [(k.detach(), v.detach()) for k, v in self.crossed]

    @torch.no_grad()
    def switch(self, text: Tensor, made: Tensor, start: int) -> None:
        """Recache the last 21 frames (released), or the last window (inference)."""
        self.text, self.crossed = text, []
        if self.released or not self.facts["global_sink"]:
            for buffer in (*self.keys, *self.values):
                buffer.zero_()
        count = min(start, 21 if self.released else self.facts["local_attn_size"])
        rewrite = not self.released and not self.facts["global_sink"]
        self.forward(
            made[:, -count:], float(self.facts["context_noise"]), start - count, rewrite_sink=rewrite
        )
        self.crossed = []

    def chunk(self, noise, start: int, exit_step: int, with_grad: bool) -> Tensor:
        """One chunk: steps without gradients, the exit step, the clean pass."""
        steps, noisy = self.facts["denoising_step_list_warped"], noise(0)
        for step in range(exit_step):
            with torch.no_grad():
                clean = self.clean(noisy, steps[step], start)
            sigma = steps[step + 1] / 1000
            noisy = (1 - sigma) * clean + sigma * noise(step + 1)
        with torch.set_grad_enabled(with_grad):
            clean = self.clean(noisy, steps[exit_step], start)
        context = clean.detach()
        if self.released:
            sigma = nearest_sigma(self.facts["context_noise"])
            context = (1 - sigma) * context + sigma * noise(len(steps))
        with torch.no_grad():
            self.forward(context, float(self.facts["context_noise"]), start)
        return clean

    def clean(self, noisy: Tensor, timestep: float, start: int) -> Tensor:
        return (noisy.double() - timestep / 1000 * self.forward(noisy, timestep, start).double()).float()


def nearest_sigma(timestep: float) -> float:
    """Of the shift-5 timetable of 1000 entries, which ends above 0."""
    even = [1 - entry / 1000 for entry in range(1000)]
    return min((5 * u / (1 + 4 * u) for u in even), key=lambda sigma: abs(1000 * sigma - timestep))


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of (B, L, N, D), (B, M, N, D); the result is (B, L, N * D)."""
    scores = torch.einsum("blnd,bmnd->bnlm", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bnlm,bmnd->blnd", scores.softmax(-1), v).flatten(2)
