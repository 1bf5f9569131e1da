"""Runners of the ``streaming_train_rollout`` and ``streaming_grad`` goldens, by the names of their README.

Everything recorded is compared but for one thing: ``recache0.k/.v`` is the reference's whole buffer, a window
and a clip. We hold what later passes attend to, the sink and the window; the other slots are never computed.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from longlive.training.objectives.options import StreamingOptions
from longlive.training.objectives.quirks import ReleasedQuirks
from longlive.training.objectives.rollout import Noise, Rollout
from longlive.training.objectives.streaming import Sequence
from tests.support.golden_files import (
    Case,
    Data,
    Goldens,
    assert_all_known,
    check_close,
    check_parameter_gradients,
    check_scalar,
    stream_config,
    timetable_of,
)

RELEASED = {"num_frame_per_block": 3, "timestep_shift": 5.0, "denoising_step_list": [1000, 750, 500, 250]}
"""What the README says of all cases, for those whose metadata is silent."""


class CheckedRollout(Rollout):
    """A case's rollout, which compares its memory with the recorded one after each recache.

    Attributes:
        late: latents of the next clip that the first prompt still makes, where a switch falls within a clip.
        num_recaches: how many were compared.
    """

    def __init__(self, goldens: Goldens, case: Case, data: Data, quirks: ReleasedQuirks) -> None:
        stream, tokens = stream_config(case), case["tokens_per_frame"]
        clip = case["kv_cache_frames"] - stream.window
        model = goldens.transformer(case)
        super().__init__(model, timetable_of(case), stream, tokens, clip=clip, quirks=quirks)
        self.data, self.tokens, self.late, self.num_recaches = data, tokens, 0, 0

    def noise(self, prefix: str, first: int) -> Noise:
        """The recorded noise of a clip from latent ``first`` on."""

        def noise(start: int, step: int) -> Tensor:
            if step == len(self.schedule.steps):
                every = self.data[f"{prefix}context_noise"]
            else:
                every = self.data[f"{prefix}renoise"][step - 1] if step else self.data[f"{prefix}noise"]
            return every[:, start - first : start - first + self.stream.chunk]

        return noise

    def extend(self, num_latents: int, text: Tensor, noise: Noise, **options: Any) -> Tensor:
        late, self.late = self.late, 0
        if not late:
            return super().extend(num_latents, text, noise, **options)
        before = super().extend(late, self.data["text"][0], noise, **options)
        self.switch(text)
        return torch.cat((before, super().extend(num_latents - late, text, noise, **options)), 1)

    def switch(self, text: Tensor) -> None:
        if not self.late:
            super().switch(text)
            pairs = [self.data[f"recache{self.num_recaches}.{half}"] for half in "kv"]
            check_memory(f"recache{self.num_recaches}", self, self.tokens, *pairs)
            self.num_recaches += 1


def check_memory(what: str, rollout: Rollout, tokens: int, keys: Tensor, values: Tensor) -> None:
    """Compare what the next chunk will see with a released buffer (layers, B, slots * tokens, N, D).

    In a buffer that has rolled, the slots after the sink hold the newest latents.
    """
    for half, buffer in zip("kv", (keys, values), strict=True):
        for layer, slots in enumerate(buffer.unflatten(2, (-1, tokens))):
            held, gone = rollout.remembered(layer), rollout.position - slots.shape[1]
            num_seen = min(rollout.position, rollout.stream.window)
            assert len(held) == num_seen, f"{what}: we hold {sorted(held)}, not {num_seen} latents"
            for rank, (latent, pair) in enumerate(sorted(held.items())):
                slot = rank if rank < rollout.stream.sink else latent - gone
                check_close(f"{what}.{half} of latent {latent}", pair["kv".index(half)], slots[:, slot])


def run_streaming_rollout(goldens: Goldens, case: Case, data: Data) -> None:
    case = RELEASED | case
    chunks, texts = case["chunks"], data["text"]
    rollout = CheckedRollout(goldens, case, data, ReleasedQuirks.as_released())
    switches = [facts["start"] for facts in chunks if facts["relative_switch"] is not None]
    second = {"switch_text": texts[1], "switch_start": switches[0]} if switches else {}
    sequence = Sequence(rollout, options_of(case, chunks[-1]), texts[0], encode_last=stub_still, **second)
    for number, facts in enumerate(chunks):
        prefix = f"chunk{number}."
        rollout.late = -(-(facts["relative_switch"] or 0) // rollout.stream.chunk) * rollout.stream.chunk
        sequence.options = options_of(case, facts)
        noise = rollout.noise(prefix, facts["start"])
        clip = sequence.next_clip(noise, exit_step=facts["exit_step_index"])
        assert clip.start == facts["start"]
        check_close(f"{prefix}new_frames", clip.latents[:, clip.mask], data[f"{prefix}new_frames"])
        check_close(f"{prefix}loss_chunk", clip.latents, data[f"{prefix}loss_chunk"])
        check_close(f"{prefix}mask_frames", clip.mask, data[f"{prefix}mask_frames"], 0)
    assert rollout.num_recaches == len(switches)
    kinds = ("noise", "renoise", "context_noise", "new_frames", "loss_chunk", "mask_frames")
    known = {f"chunk{number}.{kind}" for number in range(len(chunks)) for kind in kinds}
    recached = {f"recache{number}.{half}" for number in range(len(switches)) for half in "kv"}
    assert_all_known(data, known | recached | {"text"})


def options_of(case: Case, facts: dict[str, Any]) -> StreamingOptions:
    """The schedule that makes a clip of this length and overlap."""
    clip = facts["new"] + facts["overlap"]
    return StreamingOptions(clip=clip, new_latents=facts["new"], max_latents=case["max_length"])


def stub_still(latents: Tensor) -> Tensor:
    """What stood for the VAE when the goldens were recorded: decode(x) = x, encode(x) = 0.9 x + 0.05."""
    return 0.9 * latents[:, -1:] + 0.05


def run_streaming_grad(goldens: Goldens, case: Case, data: Data) -> None:
    case, known = RELEASED | case, {"noise", "renoise", "context_noise", "text", "out", "loss", "loss_weight"}
    for prefix, leaks in (("grad_reference.", True), ("grad_detached.", False)):
        quirks = replace(ReleasedQuirks.as_released(), leaks_gradients=leaks)
        rollout = CheckedRollout(goldens, case, data, quirks)
        model = rollout.transformer.requires_grad_(True)
        model.checkpointing = case["gradient_checkpointing"]
        options = {"exit_step": case["exit_step_index"], "with_grad": True}
        with torch.enable_grad():
            out = rollout.extend(data["out"].shape[1], data["text"], rollout.noise("", 0), **options)
            loss = (out * data["loss_weight"]).mean()
            loss.backward()
        check_close("out", out.detach(), data["out"])
        check_scalar("loss", loss.detach(), data["loss"])
        compared = check_parameter_gradients(model, data, prefix)
        assert compared, f"the case holds no {prefix}*"
        known |= compared
    assert_all_known(data, known)
