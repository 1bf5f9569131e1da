"""Cases of other checkpoints of the family: from their published files to latents and caches.

Each goes the way of a model that people fetch: converted, written with its facts, read again, and streamed.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from longlive.config import ModelConfig, StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.latent_stream import LatentStream
from longlive.models.bundle import ModelBundle, RuntimeProfile
from longlive.models.kv_cache import KVCache
from longlive.models.model_card import ModelCard
from longlive.weights.conversion import write_context_transformer, write_transformer
from longlive.weights.layout import CONTEXT_TRANSFORMER, WEIGHTS, ModelFolder, write_facts, write_json
from longlive.weights.loading import load_transformers
from tests.support.golden_files import Case, Data, Goldens, check_cache, check_close, transformer_config


def run_family(goldens: Goldens, case: Case, data: Data, _: type) -> None:
    """A case of any member: a single prompt, prompts that change, or rollouts that overlap."""
    run = MemberRun.of(goldens, case)
    for schedule, expected in run.schedules(case):
        assert schedule.warped_steps == tuple(expected)
    if case["family"] == "overlap":
        _run_rollouts(run, case, data)
    else:
        _run_stream(run, case, data)
    if "final.k" in data:
        check_cache("final", run.stream.cache, data["final.k"], data["final.v"])


@dataclass
class MemberRun:
    """A stream of a member, and the clean latents of every step of its chunks."""

    models: ModelBundle
    stream: LatentStream
    steps: list[list[Tensor]] = field(default_factory=list)

    @classmethod
    def of(cls, goldens: Goldens, case: Case) -> "MemberRun":
        models = load_member(goldens, case)
        options = StreamConfig.of(models.config, window=case["window"])
        stream = LatentStream(models, options)
        stream.cache = KVCache(
            models.config.transformer, options, case["tokens_per_frame"], batch=case["batch"]
        )
        return cls(models, stream)

    def schedules(self, case: Case) -> list[tuple[FlowSchedule, list[float]]]:
        of_blocks = case.get("warped_steps_of_block") or [case["warped_steps"]]
        first, *later = of_blocks
        config = self.models.config
        return [(FlowSchedule.of(config, first=True), first)] + [
            (FlowSchedule.of(config), steps) for steps in later
        ]

    def make(self, data: Data, prefix: str = "") -> Tensor:
        """The next chunk, from the recorded noise of the whole video."""
        noise, renoise = data[f"{prefix}noise"], data.get(f"{prefix}renoise", torch.empty(0))
        frames = slice(self.stream.start, self.stream.start + self.stream.stream.chunk)
        self.steps.append([])
        clean = self.stream.denoise(
            lambda step: (renoise[step - 1] if step else noise)[:, frames],
            on_step=lambda _, clean: self.steps[-1].append(clean),
        )
        self.keep(clean)
        return clean

    def keep(self, clean: Tensor) -> None:
        self.stream.remember(clean)
        self.stream.append(clean, is_remembered=True)

    def check_steps(self, expected: Tensor) -> None:
        """Compare with (S, B, T, ...); steps that a chunk did not have are zero there."""
        chunks = [torch.stack(steps) for steps in self.steps]
        missing = [torch.zeros(len(expected) - len(part), *part.shape[1:]) for part in chunks]
        got = torch.cat([torch.cat(pair) for pair in zip(chunks, missing, strict=True)], 2)
        check_close("x0_steps", got, expected)
        self.steps.clear()


def _run_stream(run: MemberRun, case: Case, data: Data) -> None:
    stream, switches, served = run.stream, list(case.get("switch_frame_indices", [])), []
    mode = "soft" if case.get("recache", True) else "keep"
    stream.switch(run.models.read_prompt(data["text"][0]), None)
    chunks = []
    while stream.start < case["num_frames"]:
        if len(served) < len(switches) and stream.start >= switches[len(served)]:
            served.append(stream.start)
            stream.switch(run.models.read_prompt(data["text"][len(served)]), mode)
            key = f"recache{len(served) - 1}"
            if f"{key}.k" in data:
                check_cache(key, stream.cache, data[f"{key}.k"], data[f"{key}.v"])
        chunks.append(run.make(data))
    assert served == case.get("actual_switch_frames", served)
    check_close("latents", torch.cat(chunks, 1), data["latents"])
    run.check_steps(data["x0_steps"])


def _run_rollouts(run: MemberRun, case: Case, data: Data) -> None:
    stream, overlap = run.stream, case["num_overlap_frames"]
    stream.switch(run.models.read_prompt(data["text"][0]), None)
    shown, latents = [], data["rollout0.noise"][:, :0]
    for number in range(case["num_rollouts"]):
        known = latents[:, :0]
        if number:
            stream.cut()
            known = latents[:, -overlap:].clone()
            known[:, 0] = 0.9 * known[:, 0] + 0.05  # what the recording has for the picture encoded again
            check_close("start_latents", known, data[f"rollout{number}.start_latents"])
            for chunk in known.split(case["chunk"], 1):
                run.keep(chunk)
        made = [known]
        while stream.start < case["num_frames"]:
            made.append(run.make(data, f"rollout{number}."))
        latents = torch.cat(made, 1)
        check_close(f"rollout{number}.latents", latents, data[f"rollout{number}.latents"])
        run.check_steps(data[f"rollout{number}.x0_steps"][:, :, known.shape[1] :])
        shown.append(latents[:, : latents.shape[1] - overlap])
    check_close("shown", torch.cat(shown, 1), data["shown"])


def load_member(goldens: Goldens, case: Case) -> ModelBundle:
    """The model of a case, converted from its weights' file, without decoder and text encoder."""
    weights, config = goldens.index[case["weights"]], config_of_case(case)
    file = goldens.folder / weights.get("file", f"{case['weights']}.safetensors")
    what: dict[str, Any] = dict(weights_key=weights.get("use"), dtype=torch.float32)
    with tempfile.TemporaryDirectory() as name:
        folder, shape = Path(name), config.transformer
        write_facts(folder, config, ModelCard())
        write_json(folder / "vae/config.json", {"z_dim": shape.in_channels})
        target = folder / "transformer" / WEIGHTS
        write_transformer(target, shape, file, has_context=config.context_transformer, **what)
        if config.context_transformer:
            write_context_transformer(folder / CONTEXT_TRANSFORMER / WEIGHTS, shape, file, **what)
        read = ModelFolder.read(folder)
        assert read.config == config
        first, *second = load_transformers(read)
    return ModelBundle(
        source=case["member"],
        config=config,
        transformer=first,
        context_transformer=second[0] if second else None,
        text_encoder=SimpleNamespace(),  # type: ignore[arg-type]
        vae=SimpleNamespace(),  # type: ignore[arg-type]
        decoder=SimpleNamespace(),  # type: ignore[arg-type]
        decoder_name="wan",
        card=ModelCard(),
        digest="",
        folder=Path(),
        runtime=RuntimeProfile(),
    )


def config_of_case(case: Case) -> ModelConfig:
    rows, columns = case["latent_hw"]
    return ModelConfig(
        name=case["member"],
        transformer=transformer_config(case["config"]),
        height=8 * rows,
        width=8 * columns,
        steps=tuple(case["steps"]),
        first_steps=tuple(case.get("denoising_step_list_first_chunk", ())),
        warp_steps=case.get("warp_denoising_step", True),
        shift=case["shift"],
        chunk=case["chunk"],
        window=case["num_frames"] if case["window"] == -1 else case["window"],
        sink=case["sink"],
        positions=case["positions"],
        text_len=case["config"]["text_len"],
        context_noise=float(case["context_noise"]),
        context_transformer=case["two_parameter_sets"],
    )
