"""The plain twin of a streaming pass, as the released code does it, and how much slower it is.

The cache is cloned, rolled and concatenated at each pass; rotary tables are made anew in float64 and applied
to complex128; queries, keys and values are three products; the clean pass runs to the end.

    python -m longlive.benchmark.plain_pass [--size storybook|mid] [--rounds 5] [--threads 1]
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.config import ModelConfig, StreamConfig
from longlive.models.attention import PromptMemory
from longlive.models.kv_cache import KVCache
from longlive.models.rope import THETA
from longlive.models.transformer import Block, CausalWanTransformer, modulated_norm
from longlive.runtime.compilation import optimize_for_inference
from longlive.weights.loading import read_config
from longlive.weights.random_models import MID_SIZE
from longlive.weights.registry import find_model


class PlainPass:
    """A stream's passes with the weights of a CausalWanTransformer and nothing else of ours."""

    def __init__(self, model: CausalWanTransformer, stream: StreamConfig, tokens_per_latent: int) -> None:
        self.model, self.stream, self.tokens, self.end = model, stream, tokens_per_latent, 0
        config = model.config
        shape = (
            2,
            1,
            stream.window * tokens_per_latent,
            config.num_attention_heads,
            config.attention_head_dim,
        )
        self.layers = [torch.zeros(shape) for _ in model.blocks]

    def __call__(self, latents: Tensor, timestep: float, prompt: PromptMemory, *, start: int) -> Tensor:
        """The prediction for ``latents``, which begin at ``start`` and end the stream."""
        model, number, self.before = self.model, latents.shape[1], self.end
        self.end = start + number
        self.filled = min(self.end, self.stream.window)
        is_relative = self.stream.positions == "relative"
        self.grid = latents.shape[3] // 2, latents.shape[4] // 2
        seen = range(self.filled)
        self.turn = self.table(seen[-number:] if is_relative else range(start, self.end))
        self.turn_seen = self.table(seen) if is_relative else None
        call = model._begin(latents, timestep, prompt, None, 0)
        x = model._patchify(latents)
        for block, keys, values in zip(model.blocks, prompt.keys, prompt.values, strict=True):
            x = self.block(block, x, block.scale_shift_table + call.modulation, keys, values)
        return model._head(x, call)

    def block(
        self, block: Block, x: Tensor, modulation: Tensor, text_keys: Tensor, text_values: Tensor
    ) -> Tensor:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation.unsqueeze(-2).unbind(2)
        own, text, heads = block.attn1, block.attn2, (block.attn1.num_heads, -1)
        tokens = modulated_norm(x, shift, scale, block.eps).flatten(1, 2)
        queries = rotate_plainly(own.norm_q(own.to_q(tokens)).unflatten(-1, heads), self.turn)
        keys, values = own.norm_k(own.to_k(tokens)), own.to_v(tokens).unflatten(-1, heads)
        keys, values = self.complete(block.layer, keys.unflatten(-1, heads), values)
        x = x + own.to_out(attend_plainly(queries, keys, values)).view_as(x) * gate
        queries = text.norm_q(text.to_q(block.norm2(x).flatten(1, 2))).unflatten(-1, heads)
        x = x + text.to_out(attend_plainly(queries, text_keys, text_values)).view_as(x)
        return x + block.ffn(modulated_norm(x, ffn_shift, ffn_scale, block.eps)) * ffn_gate

    def complete(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Clone, roll what is not the sink, put in what is new, and join the sink to the rest."""
        sink, filled = self.stream.sink * self.tokens, self.filled * self.tokens
        buffer = self.layers[layer].clone()
        new = torch.stack((keys if self.turn_seen is not None else rotate_plainly(keys, self.turn), values))
        forgotten = max(self.end - self.stream.window, 0) - max(self.before - self.stream.window, 0)
        if forgotten:
            buffer[:, :, sink:] = buffer[:, :, sink:].roll(-forgotten * self.tokens, 2)
        buffer[:, :, filled - new.shape[2] : filled] = new
        self.layers[layer] = buffer
        seen_keys, seen_values = torch.cat([buffer[:, :, :sink], buffer[:, :, sink:filled]], 2)
        return seen_keys if self.turn_seen is None else rotate_plainly(seen_keys, self.turn_seen), seen_values

    def table(self, positions: Sequence[int]) -> Tensor:
        """complex128 (tokens, 1, D / 2), from the formula."""
        head_dim, (rows, columns) = self.model.config.attention_head_dim, self.grid
        space = 2 * (head_dim // 6)
        places = torch.cartesian_prod(
            torch.tensor(list(positions)), torch.arange(rows), torch.arange(columns)
        ).double()
        sizes = (head_dim - 2 * space, space, space)
        steps = [THETA ** -(torch.arange(0, size, 2).double() / size) for size in sizes]
        angles = torch.cat([places[:, i : i + 1] * step for i, step in enumerate(steps)], 1)
        return torch.polar(torch.ones_like(angles), angles).unsqueeze(1)

    def fill(self, cache: KVCache) -> None:
        """Hold what a cache holds that has just been filled."""
        self.end = cache.num_remembered
        for layer in range(len(self.layers)):
            pairs = sorted(cache.contents(layer).items())
            self.layers[layer] = torch.cat([torch.stack(pair) for _, pair in pairs], 2)


def rotate_plainly(x: Tensor, turn: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).type_as(x)


def attend_plainly(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    parts = (x.transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


@torch.no_grad()
def compare(config: ModelConfig, rounds: int, compile_mode: str = "off") -> dict[str, object]:
    """Steady passes of both over one stream, in turn: processor time, its ratio, the largest difference."""
    torch.manual_seed(0)
    plain = CausalWanTransformer(config.transformer).eval()
    quick = CausalWanTransformer(config.transformer).eval()
    quick.load_state_dict(plain.state_dict())
    optimize_for_inference(quick, compile_mode=compile_mode)
    stream, shape = StreamConfig.of(config), config.latent_shape
    prompt = plain.read_prompt(torch.randn(1, config.text_len, config.transformer.text_dim))
    cache = KVCache(config.transformer, stream, config.tokens_per_latent)
    twin = PlainPass(plain, stream, config.tokens_per_latent)
    slots = cache.place(0, stream.window)
    heads = config.transformer.num_attention_heads, config.transformer.attention_head_dim
    for layer in range(config.transformer.num_layers):
        keys, values = torch.randn(2, 1, stream.window * config.tokens_per_latent, *heads)
        cache.extend(layer, slots, keys, values)
    twin.fill(cache)
    runs = {
        "quick": lambda latents, start: quick(latents, 500.0, prompt, cache, start=start),
        "plain": lambda latents, start: twin(latents, 500.0, prompt, start=start),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    difference = 0.0
    for start in range(stream.window, stream.window + rounds * stream.chunk, stream.chunk):
        latents, outputs = torch.randn(1, stream.chunk, *shape), {}
        for name in list(runs) * 2:
            begun = time.process_time()
            outputs[name] = runs[name](latents, start)
            times[name].append((time.process_time() - begun) * 1000)
        difference = max(difference, (outputs["quick"] - outputs["plain"]).abs().max().item())
    medians = {name: statistics.median(values[2:]) for name, values in times.items()}
    pairs = [old / new for old, new in zip(times["plain"][2:], times["quick"][2:], strict=True)]
    return {
        "model": config.name,
        "passes": 2 * rounds - 2,
        "compile": compile_mode,
        "pass_cpu_ms": round(medians["quick"], 2),
        "plain_pass_cpu_ms": round(medians["plain"], 2),
        "ratio": round(statistics.median(pairs), 3),
        "largest_difference": difference,
        "largest_output": outputs["quick"].abs().max().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m longlive.benchmark.plain_pass")
    parser.add_argument("--size", choices=("storybook", "mid"), action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", default="off")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for size in args.size or ("storybook", "mid"):
        config = read_config(find_model("storybook")) if size == "storybook" else MID_SIZE
        print(json.dumps(compare(config, args.rounds, args.compile)))


if __name__ == "__main__":
    main()
