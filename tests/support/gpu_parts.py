"""What a GPU has to show, part by part in one process: ``python -m tests.support.gpu_parts FOLDER PART…``.

Each part writes ``gpu_PART.json`` into FOLDER as soon as it has something, and is given up after its seconds;
a part that fails says so and the next goes on. What was begun and not ended stands in ``gpu_parts.txt``, so
that after a crash of the process the same command goes on behind it. In the environment: MODEL, OPTIONS (of
every bench, among them --random-weights), SECONDS_EACH (of video), PART_S (seconds for a part).
"""

import gc
import json
import os
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from longlive import ModelBundle, Session
from longlive.benchmark.steady_pass import steady_pass
from longlive.chunks import LatentChunk
from longlive.cli import main
from longlive.models.decoder import StreamingDecoder, put_channels_last
from longlive.models.wan_vae import optimize_for_cpu
from longlive.runtime.attention_backends import NAMES, choose_backend, is_available
from longlive.runtime.startup import RuntimeOptions, accelerate, warm
from longlive.weights.random_models import random_models

MODEL = os.environ.get("MODEL", "longlive-1.3b")
OPTIONS = os.environ.get("OPTIONS", "--random-weights --dtype bfloat16").split()
SECONDS = os.environ.get("SECONDS_EACH", "24")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
FAST = os.environ.get("COMPILE", "graphs")

Write = Callable[[Any], None]


def bench(folder: Path, name: str, *options: str) -> None:
    out = ["--out", str(folder / f"gpu_{name}.json"), "--force"]
    lasting = ["--seconds", SECONDS, "--switch-every", "4"]
    if code := main(["bench", "--model", MODEL, *OPTIONS, *lasting, *out, *options]):
        raise RuntimeError(f"bench ended with {code}")


def models_of(decoder: str = "tiny", *, dtype: torch.dtype = DTYPE, **choices: Any) -> ModelBundle:
    chosen = RuntimeOptions(device=DEVICE.type, dtype=str(dtype).split(".")[1], decoder=decoder, **choices)
    models = random_models(MODEL, device=DEVICE, dtype=dtype, decoder=decoder)
    models = accelerate(models, chosen, chosen.preset())
    list(warm(models, chosen))
    return models


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def milliseconds(run: Callable[[], Any], tries: int = 10) -> float:
    """Median of single runs by the host's clock, after two."""
    times = []
    for _ in range(2 + tries):
        synchronize()
        begun = time.perf_counter()
        run()
        synchronize()
        times.append((time.perf_counter() - begun) * 1000)
    return round(statistics.median(times[2:]), 4)


def microseconds(run: Callable[[int], Any], sets: int = 8, rounds: int = 5) -> float:
    """Per call, by the device's clock; each call has another of ``sets`` inputs, so no cache holds them."""
    if DEVICE.type != "cuda":
        return 1000 * milliseconds(lambda: run(0), tries=2)
    for number in range(sets):
        run(number)
    begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begun.record()
    for number in range(sets * rounds):
        run(number % sets)
    ended.record()
    torch.cuda.synchronize()
    return round(1000 * begun.elapsed_time(ended) / (sets * rounds), 1)


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def equal(write: Write) -> None:
    """A steady pass and a take with a soft switch: the quick ways, the plain one and float32 side by side."""
    ways: dict[str, dict[str, Any]] = {"plain": {}, FAST: {"compile": FAST}}
    if DEVICE.type == "cuda":
        ways |= {"fp8": {"compile": FAST, "quantize": "fp8"}}
    passes: dict[str, Tensor] = {}
    takes: dict[str, list[Tensor]] = {}
    result: dict[str, Any] = {"model": MODEL}
    for name, choices in ({"float32": {"dtype": torch.float32}} | ways).items():
        models = models_of(**choices)
        torch.manual_seed(0)
        run = steady_pass(models)
        passes[name] = [run() for _ in range(3 if "compile" in choices else 1)][-1].float().cpu()
        result[f"pass_{name}_to_float32"] = distance(passes[name], passes["float32"])
        if name in ways:
            takes[name] = list(take(models))
            pairs = zip(takes[name], takes["plain"], strict=True)
            result[f"chunks_{name}_to_plain"] = [distance(one, other) for one, other in pairs]
            result[f"pass_{name}_to_plain"] = distance(passes[name], passes["plain"])
        del models, run
        free()
        write(result)


def take(models: ModelBundle, chunks: int = 7) -> Iterator[Tensor]:
    with Session(models, "a red ball", seed=1) as session:
        for chunk in range(chunks):
            if chunk == chunks - 1:
                session.set_prompt("a blue ball", "soft")
            yield session.next_latents().latents.float().cpu()


def kernels(write: Write) -> None:
    """Our kernels at the sizes of a pass over a chunk: microseconds, and terabytes per second."""
    from longlive.runtime.triton_kernels import FP8, add_norm, norm_and_turn, round_rows

    rows, heads, channels, ffn = (4680, 12, 128, 8960) if DEVICE.type == "cuda" else (8, 2, 16, 40)
    dim, sets = heads * channels, 8

    def some(*shape: int) -> list[Tensor]:
        return [torch.randn(*shape, device=DEVICE).to(DTYPE) for _ in range(sets)]

    x, added, products, hidden = (
        some(rows, dim),
        some(rows, dim),
        some(rows, 3, heads, channels),
        some(rows, ffn),
    )
    gate, scale, shift = some(dim)[:3]
    rotation = torch.randn(rows, 1, channels // 2, 2, device=DEVICE)
    out = [torch.empty(rows, heads, channels, device=DEVICE, dtype=DTYPE) for _ in range(sets)]
    one, size = rows * dim * 2, rows * ffn
    turn = {"weight": gate, "rotation": rotation, "eps": 1e-6}
    runs: dict[str, tuple[Callable[[int], Any], int]] = {
        "norm": (lambda n: add_norm(x[n], scale, shift, 1e-6), 2 * one),
        "add, norm": (lambda n: add_norm(x[n], scale, shift, 1e-6, added=added[n]), 4 * one),
        "add times gate, norm": (
            lambda n: add_norm(x[n], scale, shift, 1e-6, added=added[n], gate=gate),
            4 * one,
        ),
        "add times gate, norm, 8 bits": (
            lambda n: add_norm(x[n], scale, shift, 1e-6, added=added[n], gate=gate, rounded=True),
            7 * one // 2,
        ),
        "norm and turn": (lambda n: norm_and_turn(products[n][:, 0], out[n], **turn), 2 * one),
        "norm of queries": (lambda n: norm_and_turn(out[n], out[n], weight=gate, eps=1e-6), 2 * one),
        "values into the cache": (lambda n: norm_and_turn(products[n][:, 2], out[n]), 2 * one),
        "gelu in 8 bits": (lambda n: round_rows(hidden[n], gelu=True), 3 * size),
        "copy": (lambda n: out[n].copy_(products[n][:, 0]), 2 * one),
    }
    weight, bias = some(ffn, dim)[0], some(ffn)[0]
    second, offset = some(dim, ffn)[0], some(dim)[0]
    if DEVICE.type == "cuda":
        rounded, scales = [round_rows(part) for part in x], torch.ones(1, ffn, device=DEVICE)
        weight8 = weight.to(FP8)
        hidden8, second8, scales2 = (
            [round_rows(part) for part in hidden],
            second.to(FP8),
            torch.ones(1, dim, device=DEVICE),
        )
        options = {"out_dtype": DTYPE, "use_fast_accum": True}
        runs |= {
            "product": (lambda n: F.linear(x[n], weight, bias), 0),
            "product with gelu": (
                lambda n: torch._addmm_activation(bias, x[n], weight.t(), use_gelu=True),
                0,
            ),
            "product, gelu": (lambda n: F.gelu(F.linear(x[n], weight, bias), approximate="tanh"), 0),
            "product in 8 bits": (
                lambda n: torch._scaled_mm(
                    rounded[n].values, weight8.t(), rounded[n].scales, scales, bias, **options
                ),
                0,
            ),
            "second product": (lambda n: F.linear(hidden[n], second, offset), 0),
            "second product in 8 bits": (
                lambda n: torch._scaled_mm(
                    hidden8[n].values, second8.t(), hidden8[n].scales, scales2, offset, **options
                ),
                0,
            ),
        }
        exact = F.gelu(F.linear(x[0].float(), weight.float(), bias.float()), approximate="tanh")
        found = torch._addmm_activation(bias, x[0], weight.t(), use_gelu=True)
    result: dict[str, Any] = {}
    if DEVICE.type == "cuda":
        result["gelu_in_product_to_float32"] = distance(found, exact)
        result["gelu_after_product_to_float32"] = distance(
            F.gelu(F.linear(x[0], weight, bias), approximate="tanh"), exact
        )
    for name, (run, num_bytes) in runs.items():
        try:
            took = microseconds(run)
        except Exception as error:
            result[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        result[name] = {"us": took} | ({"tb_per_s": round(num_bytes / took / 1e6, 2)} if num_bytes else {})
        write(result)


def decoders(write: Write) -> None:
    """Milliseconds to decode a chunk, for each layout of the weights and with cuDNN's own trials."""
    result: dict[str, Any] = {}
    ways = [("tiny", "channels last"), ("wan", "channels last"), ("tiny", "channels first")]
    ways += [("wan", "channels first"), ("wan", "folded")]
    for trials in (False, True):
        for name, layout in ways:
            torch.backends.cudnn.benchmark = trials
            result[f"{name}, {layout}{', trials' * trials}"] = decode_ms(name, layout)
            write(result)
    torch.backends.cudnn.benchmark = False


def decode_ms(name: str, layout: str) -> Any:
    try:
        models = random_models(MODEL, device=DEVICE, dtype=DTYPE, decoder=name)
        if layout == "channels first":
            for weight in models.decoder.parameters():
                weight.data = weight.data.contiguous()
        elif layout == "folded":
            optimize_for_cpu(models.decoder)
        else:
            put_channels_last(models.decoder)
        decoder = StreamingDecoder(models.decoder, 16)
        latents = torch.randn(1, 3, *models.config.latent_shape, device=DEVICE).to(DTYPE)
        decoder.decode(LatentChunk(0, 0, "", 0, latents))
        parts = {"network": lambda: decoder.decode_latents(latents)}
        parts["all"] = lambda: decoder.decode(LatentChunk(1, 0, "", 3, latents))
        return {part: milliseconds(run, tries=4) for part, run in parts.items()}
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        free()


def attention(write: Write) -> None:
    """Self-attention of a steady pass by each backend that is there, and how far it is from float32."""
    queries, keys = (4680, 18720) if DEVICE.type == "cuda" else (24, 96)
    sets, shape = 4, (1, -1, 12, 128)

    def some(length: int) -> list[Tensor]:
        return [torch.randn(1, length, *shape[2:], device=DEVICE).to(DTYPE) for _ in range(sets)]

    q, k, v = some(queries), some(keys), some(keys)
    few = (part[0][:, :, :2].float().transpose(1, 2) for part in (q, k, v))
    exact = F.scaled_dot_product_attention(*few).transpose(1, 2).flatten(2)
    result: dict[str, Any] = {}
    for name in NAMES:
        if not is_available(name, DEVICE, DTYPE):
            result[name] = "not there"
            continue
        try:
            attend = choose_backend(DEVICE, DTYPE, name).attend
            begun = time.perf_counter()
            off = distance(attend(q[0], k[0], v[0])[:, :, :256], exact)
            first_s = round(time.perf_counter() - begun, 1)
            us = microseconds(lambda n: attend(q[n], k[n], v[n]), sets)  # noqa: B023
            flops = 4 * queries * keys * 12 * 128
            result[name] = {
                "us": us,
                "tflops": round(flops / us / 1e6),
                "to_float32": off,
                "first_s": first_s,
            }
        except Exception as error:
            result[name] = f"{type(error).__name__}: {error}"[:300]
        write(result)


def free() -> None:
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


class GivenUp(BaseException):
    """A part has had its seconds; no Exception, so that it does not pass for a failure of one figure."""


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise GivenUp(f"given up after {seconds:.0f} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def part(folder: Path, name: str) -> None:
    """Run one part: one of ours, or a bench by its name."""
    own = {"equal": equal, "kernels": kernels, "decoders": decoders, "attention": attention}
    if name in own:
        out = folder / f"gpu_{name}.json"
        with torch.no_grad():
            own[name](lambda result: write_json(out, result))
        return
    fast = ["--compile", FAST, "--overlap"]
    benches = {
        "smoke": ["--decoder", "tiny", "--compile", "off"],
        "bf16": ["--decoder", "tiny", *fast],
        "eight": ["--decoder", "tiny", *fast, "--quantize", "fp8"],
        "wan": ["--decoder", "wan", *fast],
        "default": ["--decoder", "tiny", "--compile", "default", "--overlap"],
        "cache": ["--decoder", "tiny", *fast, "--cache", "fp8"],
        "int8": ["--decoder", "tiny", "--compile", "default", "--overlap", "--quantize", "int8"],
        "nvenc": ["--decoder", "tiny", *fast, "--encoder", "nvenc"],
        "flash4": ["--decoder", "tiny", *fast, "--attention", "flash4"],
        "backends": ["--decoder", "tiny", *fast, "--attention", "flash3", "flash4", "cudnn", "sdpa"],
        "memory": ["--decoder", "tiny", "--compile", "off", "--text", "streamed", "--cache", "fp8"],
        "hour": ["--decoder", "tiny", *fast, "--seconds", "3600"],
    }
    bench(folder, name, *benches[name])


def write_json(out: Path, result: Any) -> None:
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run(folder: Path, names: Sequence[str]) -> int:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    diary, seconds = folder / "gpu_parts.txt", float(os.environ.get("PART_S", "75"))
    if diary.exists() and not diary.read_text().endswith("\n"):
        with diary.open("a") as lines:
            lines.write("CRASHED after ? s\n")
    done = [line.split()[0] for line in diary.read_text().splitlines()] if diary.exists() else []
    failed = []
    for name in names:
        if name in done:
            continue
        begun = time.perf_counter()
        with diary.open("a") as lines:
            lines.write(f"{name} ")
        try:
            with no_longer_than(seconds):
                part(folder, name)
            words = "done"
        except BaseException as error:
            traceback.print_exc()
            failed.append(name)
            words = f"FAILED {type(error).__name__}: {str(error)[:200]}".replace("\n", " ")
        free()
        with diary.open("a") as lines:
            lines.write(f"{words} after {time.perf_counter() - begun:.1f} s\n")
    return len(failed)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
