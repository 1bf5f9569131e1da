"""Every golden case found in the folder that LONGLIVE_GOLDENS names, by its family.

Recorded from the released LongLive v1.0 code on the CPU in float32. Sizes and settings come from each case's
metadata; tolerances are absolute. ``--log-cli-level=INFO`` shows the differences.
"""

import json
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from longlive import names
from longlive.config import StreamConfig, TransformerConfig
from longlive.denoise import denoise_chunk, recache, remember_chunk
from longlive.errors import ConfigError
from longlive.flow_matching import Timetable, add_noise, clean_to_velocity, velocity_to_clean
from longlive.kv_cache import Cache, KVCache, ListCache
from longlive.transformer import CausalWanTransformer

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 2e-5
VAE_TOLERANCE = 5e-5


def goldens_folder() -> Path:
    if "LONGLIVE_GOLDENS" in os.environ:
        return Path(os.environ["LONGLIVE_GOLDENS"])
    here = ROOT / "tests" / "goldens"
    return here if here.is_dir() else ROOT.parent / "shared" / "goldens"


FOLDER = goldens_folder()
INDEX: dict[str, Any] = json.loads((FOLDER / "index.json").read_text())


def tensors(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def check_close(what: str, got: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    assert got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    difference = (got.double() - expected.double()).abs().max().item()
    log.info("%-40s %.1e", what, difference)
    assert difference <= tolerance, f"{what}: largest difference {difference:.2e}, allowed {tolerance:.0e}"


def transformer_config(facts: dict[str, Any]) -> TransformerConfig:
    """A case's configuration, in the reference's words, as ours."""
    return TransformerConfig(
        num_attention_heads=facts["num_heads"],
        attention_head_dim=facts["dim"] // facts["num_heads"],
        in_channels=facts["in_dim"],
        out_channels=facts["out_dim"],
        text_dim=facts["text_dim"],
        freq_dim=facts["freq_dim"],
        ffn_dim=facts["ffn_dim"],
        num_layers=facts["num_layers"],
        patch_size=tuple(facts["patch_size"]),
        cross_attn_norm=facts["cross_attn_norm"],
        eps=facts["eps"],
    )


def load_transformer(case: dict[str, Any], lora: dict[str, Tensor] | None = None) -> CausalWanTransformer:
    model = CausalWanTransformer(transformer_config(case["config"])).requires_grad_(False)
    state = names.transformer_from_released(tensors(case["weights"]))
    if lora is not None:
        state = names.merge_lora(state, lora, case["alpha"] / case["rank"])
    names.check_names(state, model.state_dict(), case["weights"])
    model.load_state_dict(state)
    return model


def stream_config(case: dict[str, Any]) -> StreamConfig:
    """A case's choices as ours; a combination that we refuse is a visible skip with our error's words."""
    chunk = case.get("num_frame_per_block") or case["calls"][0]["frames"]
    try:
        return StreamConfig(
            chunk=chunk,
            window=case["local_attn_size"],
            sink=case["sink_size"],
            positions="relative" if case.get("infinity_rope") else "absolute",
            global_sink=case.get("global_sink", True),
            context_noise=float(case.get("context_noise", 0)),
        )
    except ConfigError as error:
        pytest.skip(f"refused by StreamConfig: {error}")


def check_cache(what: str, cache: Cache, keys: Tensor, values: Tensor) -> None:
    """Compare (layers, B, tokens, N, D) with the cache, latent by latent in order of time."""
    layers = [cache.contents(layer) for layer in range(len(keys))]
    for half, expected in enumerate((keys, values)):
        got = torch.stack([torch.cat([content[f][half] for f in sorted(content)], 1) for content in layers])
        check_close(f"{what}.{'kv'[half]}", got, expected)


def run_scheduler(case: dict[str, Any], data: dict[str, Tensor], _: type[KVCache | ListCache]) -> None:
    timetable = Timetable(case["shift"], tuple(case["step_list"]))
    check_close("sigmas", timetable.sigmas, data["sigmas"], 0)
    check_close("timesteps", timetable.sigmas * 1000, data["timesteps"], 0)
    check_close("steps", torch.tensor(timetable.warped_steps), data["denoising_step_list"], 0)
    sigma = timetable.sigmas_of(data["ex_t"]).view(-1, 1, 1, 1)
    check_close("noisy", add_noise(data["ex_x0"], data["ex_noise"], sigma), data["ex_noisy"], 1e-6)
    clean = velocity_to_clean(data["ex_flow"], data["ex_noisy"], sigma)
    check_close("pred_x0", clean, data["ex_pred_x0"], 1e-6)
    back = clean_to_velocity(data["ex_pred_x0"], data["ex_noisy"], sigma)
    check_close("flow_back", back, data["ex_flow_back"], 5e-5)


def run_bidirectional(case: dict[str, Any], data: dict[str, Tensor], _: type[KVCache | ListCache]) -> None:
    model = load_transformer(case)
    timestep = data["timestep"].unsqueeze(1)
    flow = model(data["x"], timestep, model.read_prompt(data["text"]))
    check_close("flow", flow, data["flow"])
    sigma = Timetable(case["timestep_shift_of_x0"], ()).sigmas_of(timestep).view(-1, 1, 1, 1, 1)
    check_close("x0", velocity_to_clean(flow, data["x"], sigma), data["x0"])


def run_calls(case: dict[str, Any], data: dict[str, Tensor], new_cache: type[KVCache | ListCache]) -> None:
    model = load_transformer(case, tensors(case["lora"]) if "lora" in case else None)
    stream = stream_config(case)
    cache = new_cache(model.config, stream, case["tokens_per_frame"], batch=len(data["call0.x"]))
    prompt = model.read_prompt(data["text"])
    timetable = Timetable(case["timestep_shift"], ())
    for number, call in enumerate(case["calls"]):
        x, timestep, flow, x0 = (data[f"call{number}.{name}"] for name in ("x", "timestep", "flow", "x0"))
        start = call["start_frame"]
        if cache.has_rolled and x.shape[1] > stream.window - stream.sink:
            # The oldest latents of such a call change nothing, so we never compute them.
            old = x.shape[1] - (stream.window - stream.sink)
            x, timestep, flow, x0 = (tensor[:, old:] for tensor in (x, timestep, flow, x0))
            start += old
        got = model(x, timestep, prompt, cache, start=start)
        check_close(f"call{number}.flow", got, flow)
        sigma = timetable.sigmas_of(timestep)[..., None, None, None]
        check_close(f"call{number}.x0", velocity_to_clean(got, x, sigma), x0)
        if f"call{number}.k" in data:
            check_cache(f"call{number}", cache, data[f"call{number}.k"], data[f"call{number}.v"])


class UnwarpedTimetable(Timetable):
    """For cases recorded with ``warp_denoising_step`` false."""

    @property
    def warped_steps(self) -> tuple[float, ...]:
        return tuple(float(step) for step in self.steps)


def run_rollout(case: dict[str, Any], data: dict[str, Tensor], new_cache: type[KVCache | ListCache]) -> None:
    model = load_transformer(case)
    stream = stream_config(case)
    cache = new_cache(model.config, stream, case["tokens_per_frame"], batch=case["batch"])
    kind = Timetable if case.get("warp_denoising_step", True) else UnwarpedTimetable
    timetable = kind(case["timestep_shift"], tuple(case["denoising_step_list"]))
    switches, prompt = list(case.get("switch_frame_indices", [])), model.read_prompt(data["text"][0])
    latents, x0_steps, served = data["noise"][:, :0], [], []
    for start in range(0, case["num_frames"], stream.chunk):
        if len(served) < len(switches) and start >= switches[len(served)]:
            served.append(start)
            prompt = model.read_prompt(data["text"][len(served)])
            if start:
                window = latents if stream.window == -1 else latents[:, -stream.window :]
                recache(model, window, prompt, cache, start=start)
            if f"recache{len(served) - 1}.k" in data:
                key = f"recache{len(served) - 1}"
                check_cache(key, cache, data[f"{key}.k"], data[f"{key}.v"])
        steps: list[Tensor] = []
        clean = denoise_chunk(
            model,
            partial(noise_of, data, slice(start, start + stream.chunk)),
            prompt,
            cache,
            timetable,
            start=start,
            on_step=lambda _, clean, steps=steps: steps.append(clean),
        )
        remember_chunk(model, clean, prompt, cache, start=start)
        latents = torch.cat((latents, clean), 1)
        x0_steps.append(torch.stack(steps))
    assert served == case.get("actual_switch_frames", served)
    check_close("latents", latents, data["latents"])
    check_close("x0_steps", torch.cat(x0_steps, 2), data["x0_steps"])
    if "final.k" in data:
        check_cache("final", cache, data["final.k"], data["final.v"])


def noise_of(data: dict[str, Tensor], latents: slice, step: int) -> Tensor:
    return (data["renoise"][step - 1] if step else data["noise"])[:, latents]


def load_vae(case: dict[str, Any], data: dict[str, Tensor]) -> Any:
    """diffusers' VAE of the shape that the weights tell, with their names converted by diffusers."""
    from diffusers import AutoencoderKLWan
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    state = convert_wan_vae_to_diffusers(tensors(case["weights"]))
    dim = state["encoder.conv_in.weight"].shape[0]
    vae = AutoencoderKLWan(
        base_dim=dim,
        z_dim=len(data["mean"]),
        latents_mean=data["mean"].tolist(),
        latents_std=data["std"].tolist(),
    )
    vae.load_state_dict(state)
    return vae.requires_grad_(False)


def run_vae(case: dict[str, Any], data: dict[str, Tensor], _: type[KVCache | ListCache]) -> None:
    from longlive.decoder import StreamingDecoder, encode_pictures

    vae = load_vae(case, data)
    if "pixels" in data:
        latents = encode_pictures(vae, data["pixels"].transpose(1, 2))
        check_close("mu", latents.transpose(1, 2), data["mu"], VAE_TOLERANCE)
        return
    latents = data["z"].transpose(1, 2)
    for name, sizes in (("oneshot", [latents.shape[1]]), ("chunked", case["chunk_latents"])):
        decoder = StreamingDecoder(vae, fps=16)
        pictures = [decoder.decode_latents(chunk) for chunk in latents.split(sizes, 1)]
        expected = data[f"decoded_{name}"].clamp(-1, 1).transpose(1, 2)
        check_close(f"decoded_{name}", torch.cat(pictures, 1), expected, VAE_TOLERANCE)
    assert [chunk.shape[1] for chunk in pictures] == case["frames_per_chunk"]


def run_text_encoder(case: dict[str, Any], data: dict[str, Tensor], _: type[KVCache | ListCache]) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    facts = INDEX[case["weights"]]["config"]
    config = UMT5Config(
        vocab_size=facts["vocab"],
        d_model=facts["dim"],
        d_kv=facts["dim_attn"] // facts["num_heads"],
        d_ff=facts["dim_ffn"],
        num_layers=facts["num_layers"],
        num_heads=facts["num_heads"],
        relative_attention_num_buckets=facts["num_buckets"],
        relative_attention_max_distance=facts["max_distance"],
        feed_forward_proj="gated-gelu",
    )
    model = UMT5EncoderModel(config).requires_grad_(False).eval()
    state = names.umt5_from_released(tensors(case["weights"]))
    tied = {"encoder.embed_tokens.weight": state["shared.weight"]}
    names.check_names(state | tied, model.state_dict(), "the text encoder")
    model.load_state_dict(state | tied)
    hidden = model(data["ids"], data["mask"]).last_hidden_state
    real = data["mask"].bool().unsqueeze(-1)
    check_close("hidden", hidden * real, data["hidden"] * real)
    check_close("prompt_embeds", hidden * real, data["prompt_embeds"])


Runner = Callable[[dict[str, Any], dict[str, Tensor], type[KVCache | ListCache]], None]
RUNNERS: dict[str, Runner] = {
    "scheduler": run_scheduler,
    "bidirectional": run_bidirectional,
    "causal": run_calls,
    "lora_forward": run_calls,
    "rollout": run_rollout,
    "interactive": run_rollout,
    "infinity": run_rollout,
    "vae": run_vae,
    "text_encoder": run_text_encoder,
}
LATER = {
    "dmd": "distillation training is a later issue",
    "streaming_train_rollout": "streaming long tuning is a later issue",
    "streaming_grad": "streaming long tuning is a later issue",
}
CACHED = ("causal", "lora_forward", "rollout", "interactive", "infinity")


def family_of(name: str) -> str:
    known = [family for family in (*RUNNERS, *LATER) if name == family or name.startswith(f"{family}_")]
    return known[0] if known else name.split("_")[0]


def is_material(name: str) -> bool:
    """Weights and LoRA files, which other cases use."""
    used = {case.get(field) for case in INDEX.values() for field in ("weights", "lora")}
    return (
        name.startswith("weights_")
        or name in used
        or (name.startswith("lora_") and "calls" not in INDEX[name])
    )


CASES = [
    pytest.param(name, cache, id=f"{name}-{cache.__name__}" if family_of(name) in CACHED else name)
    for name in sorted(INDEX)
    if not is_material(name)
    for cache in ((KVCache, ListCache) if family_of(name) in CACHED else (KVCache,))
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "cache"), CASES)
def test_golden_case(name: str, cache: type[KVCache | ListCache]) -> None:
    family = family_of(name)
    if family not in RUNNERS:
        pytest.skip(LATER.get(family, f"no runner for the family {family!r}"))
    RUNNERS[family](INDEX[name], tensors(name), cache)


def test_the_folder_holds_cases_to_run() -> None:
    """An empty or wrong folder must not look like success."""
    assert any(family_of(param.values[0]) in RUNNERS for param in CASES), f"no golden cases in {FOLDER}"
