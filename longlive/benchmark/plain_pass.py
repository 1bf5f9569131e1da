"""A streaming pass computed plainly, as the released code does it, and how much slower it is than ours.

The cache is cloned, rolled and concatenated at each pass; rotary tables are made anew in float64 and applied
to complex128; queries, keys and values are three products; the clean pass runs to the end.

    python -m longlive.benchmark.plain_pass [--size storybook|mid] [--rounds 5] [--threads 1]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.config import CompileMode, ModelConfig, StreamConfig
from longlive.models.attention import PromptKV
from longlive.models.kv_cache import KVCache
from longlive.models.rope import THETA
from longlive.models.transformer import Block, CausalWanTransformer, modulated_norm
from longlive.runtime.compilation import optimize_for_inference
from longlive.weights.registry import config_of

SIZES = ("storybook", "mid")
# Each run does two passes per round and size; the first two passes warm it up.
_WARM_UP_PASSES = 2


class PlainPass:
    """The passes of one stream, with a transformer's weights but without its cache, rotations and attention.

    Attributes:
        model: gives the weights.
        stream: gives the window, the sink and the kind of positions; the window must not be endless.
        end: latents of the stream so far.
    """

    def __init__(self, model: CausalWanTransformer, stream: StreamConfig, tokens_per_latent: int) -> None:
        """An empty stream of ``tokens_per_latent`` tokens in each latent frame."""
        self.model, self.stream = model, stream
        self.end = 0
        config = model.config
        heads = config.num_attention_heads, config.attention_head_dim
        self._tokens = tokens_per_latent
        self._layers = [torch.zeros(2, 1, stream.window * tokens_per_latent, *heads) for _ in model.blocks]

    def __call__(self, latents: Tensor, timestep: float, prompt: PromptKV, *, start: int) -> Tensor:
        """The raw prediction for the newest latents of the stream, as the transformer gives it.

        Args:
            latents: (1, F, C, H, W), noisy.
            timestep: in [0, 1000].
            prompt: of ``model.read_prompt``.
            start: number of the first latent since the start of the video.
        """
        model, num_latents = self.model, latents.shape[1]
        end_before, self.end = self.end, start + num_latents
        self._forgotten = self._num_forgotten(self.end) - self._num_forgotten(end_before)
        self._filled = min(self.end, self.stream.window)
        visible = range(self._filled)
        grid = latents.shape[3] // 2, latents.shape[4] // 2
        is_relative = self.stream.positions == "relative"
        positions = visible[-num_latents:] if is_relative else range(start, self.end)
        self._rotation = self._make_rotation(positions, *grid)
        self._visible_rotation = self._make_rotation(visible, *grid) if is_relative else None
        call = model._begin(latents, timestep, prompt, None, 0)
        x = model._patchify(latents)
        for block, keys, values in zip(model.blocks, prompt.keys, prompt.values, strict=True):
            x = self._block(block, x, block.scale_shift_table + call.modulation, keys, values)
        return model._head(x, call)

    def fill(self, cache: KVCache) -> None:
        """Take over the contents of a cache whose window has just been filled."""
        self.end = cache.num_remembered
        for layer in range(len(self._layers)):
            pairs = sorted(cache.contents(layer).items())
            self._layers[layer] = torch.cat([torch.stack(pair) for _, pair in pairs], 2)

    def _num_forgotten(self, num_latents: int) -> int:
        return max(num_latents - self.stream.window, 0)

    def _block(
        self, block: Block, x: Tensor, modulation: Tensor, text_keys: Tensor, text_values: Tensor
    ) -> Tensor:
        """One transformer block over (1, F, T, dim)."""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation.unsqueeze(-2).unbind(2)
        own, text, heads = block.attn1, block.attn2, (block.attn1.num_heads, -1)
        tokens = modulated_norm(x, shift, scale, block.eps).flatten(1, 2)
        queries = rotate_plainly(own.norm_q(own.to_q(tokens)).unflatten(-1, heads), self._rotation)
        keys, values = own.norm_k(own.to_k(tokens)), own.to_v(tokens).unflatten(-1, heads)
        keys, values = self._update(block.layer, keys.unflatten(-1, heads), values)
        x = x + own.to_out(attend_plainly(queries, keys, values)).view_as(x) * gate
        queries = text.norm_q(text.to_q(block.norm2(x).flatten(1, 2))).unflatten(-1, heads)
        x = x + text.to_out(attend_plainly(queries, text_keys, text_values)).view_as(x)
        return x + block.ffn(modulated_norm(x, ffn_shift, ffn_scale, block.eps)) * ffn_gate

    def _update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Clone the buffer, roll all but the sink, insert what is new, and concatenate sink and window."""
        sink, filled = self.stream.sink * self._tokens, self._filled * self._tokens
        buffer = self._layers[layer].clone()
        is_relative = self._visible_rotation is not None
        new = torch.stack((keys if is_relative else rotate_plainly(keys, self._rotation), values))
        if self._forgotten:
            buffer[:, :, sink:] = buffer[:, :, sink:].roll(-self._forgotten * self._tokens, 2)
        buffer[:, :, filled - new.shape[2] : filled] = new
        self._layers[layer] = buffer
        all_keys, all_values = torch.cat([buffer[:, :, :sink], buffer[:, :, sink:filled]], 2)
        if self._visible_rotation is not None:
            all_keys = rotate_plainly(all_keys, self._visible_rotation)
        return all_keys, all_values

    def _make_rotation(self, positions: Sequence[int], rows: int, columns: int) -> Tensor:
        """complex128 (tokens, 1, D / 2), from the formula."""
        head_dim = self.model.config.attention_head_dim
        space = 2 * (head_dim // 6)
        places = torch.cartesian_prod(
            torch.tensor(list(positions)), torch.arange(rows), torch.arange(columns)
        ).double()
        sizes = (head_dim - 2 * space, space, space)
        steps = [THETA ** -(torch.arange(0, size, 2).double() / size) for size in sizes]
        angles = torch.cat([places[:, i : i + 1] * step for i, step in enumerate(steps)], 1)
        return torch.polar(torch.ones_like(angles), angles).unsqueeze(1)


def rotate_plainly(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the channel pairs of (B, L, N, D) by complex128 (L, 1, D / 2), in float64."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)


def attend_plainly(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention of (B, L, N, D) over (B, M, N, D); returns (B, L, N * D)."""
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@torch.no_grad()
def compare(config: ModelConfig, rounds: int, compile_mode: CompileMode = "off") -> dict[str, Any]:
    """Run steady passes of both over one stream, alternating, with random weights.

    Returns:
        medians of processor time in ms, their ratio (above 1: ours is faster), and the largest difference of
        the predictions beside their largest value.
    """
    torch.manual_seed(0)
    reference = CausalWanTransformer(config.transformer).eval()
    optimized = CausalWanTransformer(config.transformer).eval()
    optimized.load_state_dict(reference.state_dict())
    optimize_for_inference(optimized, compile_mode=compile_mode)
    stream = StreamConfig.of(config)
    prompt = reference.read_prompt(torch.randn(1, config.text_len, config.transformer.text_dim))
    cache = _full_cache(config, stream)
    plain = PlainPass(reference, stream, config.tokens_per_latent)
    plain.fill(cache)
    runs: dict[str, Callable[[Tensor, int], Tensor]] = {
        "ours": lambda latents, start: optimized(latents, 500.0, prompt, cache, start=start),
        "plain": lambda latents, start: plain(latents, 500.0, prompt, start=start),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    difference = 0.0
    for start in range(stream.window, stream.window + rounds * stream.chunk, stream.chunk):
        latents, outputs = torch.randn(1, stream.chunk, *config.latent_shape), {}
        for name in list(runs) * 2:
            started = time.process_time()
            outputs[name] = runs[name](latents, start)
            times[name].append((time.process_time() - started) * 1000)
        difference = max(difference, (outputs["ours"] - outputs["plain"]).abs().max().item())
    warm = {name: values[_WARM_UP_PASSES:] for name, values in times.items()}
    ratios = [plain_ms / ours_ms for plain_ms, ours_ms in zip(warm["plain"], warm["ours"], strict=True)]
    return {
        "model": config.name,
        "passes": len(ratios),
        "compile": compile_mode,
        "pass_cpu_ms": round(statistics.median(warm["ours"]), 2),
        "plain_pass_cpu_ms": round(statistics.median(warm["plain"]), 2),
        "ratio": round(statistics.median(ratios), 3),
        "largest_difference": difference,
        "largest_output": outputs["ours"].abs().max().item(),
    }


def main() -> None:
    """Print a line of JSON for each size."""
    parser = argparse.ArgumentParser("python -m longlive.benchmark.plain_pass", description=__doc__)
    parser.add_argument("--size", choices=SIZES, action="append", help="may be repeated (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="chunks, each with two passes of both")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--compile", choices=get_args(CompileMode), default="off", help="for our passes")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for size in args.size or SIZES:
        config = config_of("mid-size" if size == "mid" else size)
        print(json.dumps(compare(config, args.rounds, args.compile)))


def _full_cache(config: ModelConfig, stream: StreamConfig) -> KVCache:
    """A cache whose window is filled with random keys and values."""
    cache = KVCache(config.transformer, stream, config.tokens_per_latent)
    slots = cache.place(0, stream.window)
    heads = config.transformer.num_attention_heads, config.transformer.attention_head_dim
    for layer in range(config.transformer.num_layers):
        keys, values = torch.randn(2, 1, stream.window * config.tokens_per_latent, *heads)
        cache.extend(layer, slots, keys, values)
    return cache


if __name__ == "__main__":
    main()
