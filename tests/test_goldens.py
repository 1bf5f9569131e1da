"""Every golden case found in the folder that LONGLIVE_GOLDENS names, by its family.

Recorded from the released LongLive v1.0 code on the CPU in float32. Sizes and settings come from each case's
metadata; tolerances are absolute. ``--log-cli-level=INFO`` shows the differences.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from longlive.generation.flow_matching import FlowSchedule, add_noise, clean_to_velocity, velocity_to_clean
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.kv_cache import KVCache
from longlive.models.list_cache import ListCache
from longlive.training.objectives.flow import timestep_weights
from longlive.weights.formats import key_mapping as names
from tests.support.golden_dmd import run_dmd
from tests.support.golden_family import run_family
from tests.support.golden_files import (
    Case,
    Data,
    Goldens,
    check_cache,
    check_close,
    stream_config,
    timetable_of,
)
from tests.support.golden_streaming import run_streaming_grad, run_streaming_rollout

VAE_TOLERANCE = 5e-5
FOLDERS = Goldens.all_here()
CacheType = type[KVCache | ListCache]


def run_scheduler(goldens: Goldens, case: Case, data: Data, _: CacheType) -> None:
    timetable = FlowSchedule(case["shift"], tuple(case["step_list"]))
    check_close("sigmas", timetable.sigmas, data["sigmas"], 0)
    check_close("timesteps", timetable.sigmas * 1000, data["timesteps"], 0)
    check_close("steps", torch.tensor(timetable.warped_steps), data["denoising_step_list"], 0)
    check_close("training_weights", timestep_weights(timetable), data["training_weights"], 1e-6)
    sigma = timetable.sigmas_of(data["ex_t"]).view(-1, 1, 1, 1)
    check_close("noisy", add_noise(data["ex_x0"], data["ex_noise"], sigma), data["ex_noisy"], 1e-6)
    clean = velocity_to_clean(data["ex_flow"], data["ex_noisy"], sigma)
    check_close("pred_x0", clean, data["ex_pred_x0"], 1e-6)
    back = clean_to_velocity(data["ex_pred_x0"], data["ex_noisy"], sigma)
    check_close("flow_back", back, data["ex_flow_back"], 5e-5)


def run_bidirectional(goldens: Goldens, case: Case, data: Data, _: CacheType) -> None:
    model = goldens.transformer(case)
    timestep = data["timestep"].unsqueeze(1)
    flow = model(data["x"], timestep, model.read_prompt(data["text"]))
    check_close("flow", flow, data["flow"])
    sigma = FlowSchedule(case["timestep_shift_of_x0"], ()).sigmas_of(timestep).view(-1, 1, 1, 1, 1)
    check_close("x0", velocity_to_clean(flow, data["x"], sigma), data["x0"])


def run_calls(goldens: Goldens, case: Case, data: Data, new_cache: CacheType) -> None:
    model = goldens.transformer(case, lora=goldens.tensors(case["lora"]) if "lora" in case else None)
    stream = stream_config(case)
    cache = new_cache(model.config, stream, case["tokens_per_frame"], batch=len(data["call0.x"]))
    prompt = model.read_prompt(data["text"])
    timetable = FlowSchedule(case["timestep_shift"], ())
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


def run_rollout(goldens: Goldens, case: Case, data: Data, new_cache: CacheType) -> None:
    model = goldens.transformer(case)
    stream = stream_config(case)
    cache = new_cache(model.config, stream, case["tokens_per_frame"], batch=case["batch"])
    timetable = timetable_of(case)
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


def load_vae(goldens: Goldens, case: Case, data: Data) -> Any:
    """diffusers' VAE of the shape that the weights tell, with their names converted by diffusers."""
    from diffusers import AutoencoderKLWan
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    state = convert_wan_vae_to_diffusers(goldens.tensors(case["weights"]))
    dim = state["encoder.conv_in.weight"].shape[0]
    vae = AutoencoderKLWan(
        base_dim=dim,
        z_dim=len(data["mean"]),
        latents_mean=data["mean"].tolist(),
        latents_std=data["std"].tolist(),
    )
    vae.load_state_dict(state)
    return vae.requires_grad_(False)


def run_vae(goldens: Goldens, case: Case, data: Data, _: CacheType) -> None:
    from longlive.models.decoder import StreamingDecoder
    from longlive.models.wan_vae import encode_pictures

    vae = load_vae(goldens, case, data)
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


def run_text_encoder(goldens: Goldens, case: Case, data: Data, _: CacheType) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    facts = goldens.index[case["weights"]]["config"]
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
    state = names.umt5_from_released(goldens.tensors(case["weights"]))
    tied = {"encoder.embed_tokens.weight": state["shared.weight"]}
    names.check_names(state | tied, model.state_dict(), "the text encoder")
    model.load_state_dict(state | tied)
    hidden = model(data["ids"], data["mask"]).last_hidden_state
    real = data["mask"].bool().unsqueeze(-1)
    check_close("hidden", hidden * real, data["hidden"] * real)
    check_close("prompt_embeds", hidden * real, data["prompt_embeds"])


Runner = Callable[[Goldens, Case, Data, CacheType], None]
RUNNERS: dict[str, Runner] = {
    "scheduler": run_scheduler,
    "bidirectional": run_bidirectional,
    "causal": run_calls,
    "lora_forward": run_calls,
    "rollout": run_rollout,
    "interactive": run_rollout,
    "infinity": run_rollout,
    "dmd": lambda goldens, case, data, _: run_dmd(goldens, case, data),
    "streaming_train_rollout": lambda goldens, case, data, _: run_streaming_rollout(goldens, case, data),
    "streaming_grad": lambda goldens, case, data, _: run_streaming_grad(goldens, case, data),
    "vae": run_vae,
    "text_encoder": run_text_encoder,
    "member": run_family,
}
CACHED = ("causal", "lora_forward", "rollout", "interactive", "infinity")


def family_of(name: str, case: Case) -> str:
    if "member" in case:
        return "member"
    known = [family for family in RUNNERS if name == family or name.startswith(f"{family}_")]
    return known[0] if known else name.split("_")[0]


CASES = [
    pytest.param(goldens, name, cache, id=f"{name}-{cache.__name__}" if family in CACHED else name)
    for goldens in FOLDERS
    for name in sorted(goldens.index)
    if not goldens.is_material(name)
    for family in (family_of(name, goldens.index[name]),)
    for cache in ((KVCache, ListCache) if family in CACHED else (KVCache,))
]


@torch.no_grad()
@pytest.mark.parametrize(("goldens", "name", "cache"), CASES)
def test_golden_case(goldens: Goldens, name: str, cache: CacheType) -> None:
    case = goldens.index[name]
    family = family_of(name, case)
    if family not in RUNNERS:  # only in a folder newer than this code; none of today's is left out
        pytest.skip(f"the goldens' README: an unsupported family is a visible skip; no runner for {family!r}")
    RUNNERS[family](goldens, case, goldens.tensors(name), cache)


def test_the_folder_holds_cases_to_run() -> None:
    """An empty or wrong folder must not look like success."""
    found = [family_of(name, goldens.index[name]) for goldens, name, _ in (param.values for param in CASES)]
    assert set(found) & set(RUNNERS), f"no cases in {FOLDERS[0].folder}"
