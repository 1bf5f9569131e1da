"""Runners of the ``streaming_train_rollout`` and ``streaming_grad`` goldens.

Their names are not documented, so each thing is known by several plausible ones, as the other families would
name it. A tensor that no rule recognises fails the case, by name: nothing is passed over in silence.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.sampling import denoise_chunk
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.flow import masked_mean
from longlive.training.objectives.options import ReleasedQuirks
from longlive.training.objectives.rollout import Rollout
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

NOISE = ("noise",)
RENOISE = ("renoise",)
CONTEXT = ("context_renoise", "renoise_context", "context_noise", "noise_context", "ctx_noise", "ctx_renoise")
LATENTS = ("latents", "output", "outputs", "x0", "pred_x0")
CLIPS = ("clip", "full_chunk", "chunk", "full_clip")
SECOND_TEXT = ("switch_text", "text_switch", "text2", "text_second", "text1", "second_text")
SWITCHES = (
    "switch_frame_indices",
    "switch_frame_index",
    "switch_frames",
    "switch_frame",
    "actual_switch_frames",
)
EXITS = ("exit_steps", "exit_flags", "exit_step", "exit_flag")
LENGTHS = ("chunk_lengths", "chunk_frames", "chunk_sizes", "lengths", "new_frames")
CLIP_SIZES = ("slice_last_frames", "streaming_chunk_size", "clip")
GRAD_FLAGS = ("requires_grad", "with_grad", "grad", "train_generator")
WEIGHTS = (
    "loss_weight",
    "loss_weights",
    "weight",
    "weights",
    "w",
    "cotangent",
    "grad_output",
    "grad_out",
    "probe",
)
WEIGHTS += ("dloss_dx", "dloss_doutput", "target", "kl_grad")


@dataclass(frozen=True)
class Call:
    """One call of the training pipeline: a clip's new latents.

    Attributes:
        exits: the exit step of each chunk.
        switch: the latent at which the second prompt takes over within this call; None if it does not.
    """

    number: int
    start: int
    num_latents: int
    exits: tuple[int, ...]
    with_grad: bool
    switch: int | None


class StreamingCase:
    """A case's facts and tensors under whatever names; remembers which tensors were used."""

    def __init__(self, case: Case, data: Data) -> None:
        self.case, self.data, self.used = dict(case), data, set[str]()
        for name, tensor in data.items():
            if not tensor.is_floating_point() and "." not in name:
                self.case.setdefault(name, tensor.tolist())
                self.used.add(name)

    def fact(self, names: tuple[str, ...], default: Any = None) -> Any:
        found = [self.case[name] for name in names if self.case.get(name) is not None]
        return found[0] if found else default

    def tensor(self, *names: str) -> Tensor | None:
        """The first tensor that bears one of the names."""
        for name in names:
            if name in self.data:
                self.used.add(name)
                return self.data[name]
        return None

    def of_call(self, call: Call, names: tuple[str, ...]) -> Tensor | None:
        """A call's own tensor, or its latents' part of the whole sequence's."""
        own = self.tensor(*(f"{kind}{call.number}.{name}" for kind in ("call", "chunk") for name in names))
        if own is not None:
            return own
        whole = self.tensor(*names)
        return None if whole is None else latents_of(whole, call.start, call.num_latents)

    @property
    def texts(self) -> list[Tensor]:
        """Tokens of the first prompt, and of the second if there is one."""
        first = self.tensor("text", "text_first", "text0")
        assert first is not None, "the case holds no text"
        second = self.tensor(*SECOND_TEXT)
        return list(first) if first.ndim == 4 else [first] + ([] if second is None else [second])

    def calls(self, chunk: int) -> list[Call]:
        facts = self._call_facts()
        exits, switches = as_list(self.fact(EXITS, [])), as_list(self.fact(SWITCHES, []))
        last = len(self.case["denoising_step_list"]) - 1 if self.case.get("last_step_only") else None
        calls, start = [], 0
        for number, own in enumerate(facts):
            size = int(pick(own, ("frames", "num_frames", "new_frames", "chunk_frames")))
            start = int(pick(own, ("start_frame", "current_start_frame", "start"), start))
            exit_steps = as_list(pick(own, EXITS, exits[number] if number < len(exits) else last))
            assert exit_steps, f"call {number} does not say at which step it leaves the loop"
            if len(exit_steps) == 1 or self.case.get("same_step_across_blocks", True):
                exit_steps = exit_steps[:1] * (size // chunk)
            relative = pick(own, ("switch_frame_index", "switch_relative", "relative_switch_frame"))
            due = [s for s in switches if s is not None and start <= s < start + size]
            switch = start + int(relative) if relative is not None else (due[0] if due else None)
            grad = bool(pick(own, GRAD_FLAGS, self.fact(GRAD_FLAGS, False)))
            calls.append(Call(number, start, size, tuple(map(int, exit_steps)), grad, switch))
            start += size
        return calls

    def _call_facts(self) -> list[dict[str, Any]]:
        listed = self.fact(("calls", "chunks"))
        if listed is None:
            listed = [{"frames": size} for size in as_list(self.fact((*LENGTHS, "num_frames")))]
        facts = [{"frames": own} if isinstance(own, int) else dict(own) for own in listed]
        for name, tensor in self.data.items():
            match = re.fullmatch(r"(?:call|chunk)(\d+)\.(\w+)", name)
            if match and not tensor.is_floating_point() and int(match[1]) < len(facts):
                facts[int(match[1])].setdefault(match[2], tensor.tolist())
                self.used.add(name)
        return facts


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def pick(facts: dict[str, Any], names: tuple[str, ...], default: Any = None) -> Any:
    found = [facts[name] for name in names if facts.get(name) is not None]
    return found[0] if found else default


def latents_of(tensor: Tensor, start: int, size: int) -> Tensor:
    """The latents [start, start + size) of (..., B, T, C, h, w)."""
    return tensor.narrow(-4, start, size)


class Replay:
    """A case played again by our rollout, each call compared as it ends."""

    def __init__(self, found: StreamingCase, model: CausalWanTransformer, defects: ReleasedQuirks) -> None:
        case = found.case
        self.found, self.model = found, model
        self.stream: StreamConfig = stream_config(case)
        timetable = timetable_of(case)
        self.num_steps = len(timetable.steps)
        self.rollout = Rollout(
            model,
            timetable,
            self.stream,
            case["tokens_per_frame"],
            clip=int(found.fact(CLIP_SIZES, 21)),
            defects=defects,
        )
        self.calls = found.calls(self.stream.chunk)
        self.cleans: dict[tuple[int, int], Tensor] = {}
        self.served: list[int] = []
        self.made: list[Tensor] = []

    def play(self, *, with_grad: bool) -> Tensor:
        """All latents of the calls that carry gradients (if they are wanted), or of all calls."""
        carried = []
        with patch("longlive.training.objectives.rollout.denoise_chunk", self._denoise_chunk):
            for call in self.calls:
                self.rollout.detach()
                latents = self._call(call, with_grad and call.with_grad)
                self.made.append(latents.detach())
                if latents.requires_grad:
                    carried.append(latents)
                self._check_call(call)
        return torch.cat(carried or self.made, 1)

    def _call(self, call: Call, with_grad: bool) -> Tensor:
        """Stretches of chunks that share prompt and exit step; none carries gradients before a switch."""
        texts, chunk, parts = self.found.texts, self.stream.chunk, []
        end, start = call.start + call.num_latents, call.start
        while start < end:
            if call.switch is not None and call.switch <= start and len(self.served) == 0:
                self.rollout.switch(texts[1])
                self.served.append(start)
                self._check_recache()
            number = (start - call.start) // chunk
            stop = start + chunk
            while stop < end and not self._parts_at(call, number, stop):
                stop += chunk
            carries = with_grad and not (call.switch is not None and start < call.switch)
            parts.append(
                self.rollout.extend(
                    stop - start,
                    texts[1] if self.served else texts[0],
                    lambda at, step: self._noise(call, at, step),
                    exit_step=call.exits[number],
                    with_grad=carries,
                )
            )
            start = stop
        return torch.cat(parts, 1)

    def _parts_at(self, call: Call, number: int, latent: int) -> bool:
        """Whether something changes at this latent: the exit step or the prompt."""
        changes = call.exits[(latent - call.start) // self.stream.chunk] != call.exits[number]
        return changes or (call.switch is not None and not self.served and latent >= call.switch)

    def _noise(self, call: Call, start: int, step: int) -> Tensor:
        if step == 0:
            kind, tensor = "noise", self.found.of_call(call, NOISE)
        elif step < self.num_steps:
            kind, tensor = "renoise", self.found.of_call(call, RENOISE)
            tensor = None if tensor is None else tensor[step - 1]
        else:
            kind, tensor = "noise of the context", self.found.of_call(call, CONTEXT)
            if tensor is None:
                every = self.found.of_call(call, RENOISE)
                tensor = every[-1] if every is not None and len(every) == self.num_steps else None
        assert tensor is not None, f"the case holds no {kind}"
        return latents_of(tensor, start - call.start, self.stream.chunk)

    def _denoise_chunk(self, *arguments: Any, **options: Any) -> Tensor:
        def remember(step: int, clean: Tensor) -> None:
            self.cleans[step, options["start"]] = clean.detach()

        return denoise_chunk(*arguments, on_step=remember, **options)

    def _check_recache(self) -> None:
        self._check_cache(f"recache{len(self.served) - 1}")

    def _check_call(self, call: Call) -> None:
        recorded = self.found.of_call(call, LATENTS)
        if recorded is not None:
            check_close(f"latents of call {call.number}", self.made[-1], recorded)
        steps = self.found.of_call(call, ("x0_steps",))
        if steps is not None:
            self._check_steps(call, steps)
        clip = self.found.tensor(
            *(f"{kind}{call.number}.{name}" for kind in ("call", "chunk") for name in CLIPS)
        )
        if clip is not None:
            check_close(f"clip of call {call.number}", torch.cat(self.made, 1)[:, -clip.shape[1] :], clip)
        for kind in ("call", "chunk"):
            self._check_cache(f"{kind}{call.number}")
        if call is self.calls[-1]:
            self._check_cache("final")

    def _check_steps(self, call: Call, steps: Tensor) -> None:
        for (step, start), clean in self.cleans.items():
            if call.start <= start < call.start + call.num_latents:
                expected = latents_of(steps[step], start - call.start, self.stream.chunk)
                check_close(f"x0 of step {step} at latent {start}", clean, expected)

    def _check_cache(self, name: str) -> None:
        """Compare the latents that we still hold; the released buffer holds more, which nobody attends to."""
        for half, letter in enumerate("kv"):
            recorded = self.found.tensor(f"{name}.{letter}")
            if recorded is None:
                continue
            frames = recorded.unflatten(2, (-1, self.found.case["tokens_per_frame"])).unbind(2)
            for layer, expected in enumerate(torch.stack(frames).unbind(1)):
                content = self.rollout.remembered(layer)
                stored = self._stored(len(frames), sorted(content))
                for latent, pair in content.items():
                    where = stored.index(latent)
                    check_close(f"{name}.{letter} of latent {latent}", pair[half].detach(), expected[where])

    def _stored(self, num_frames: int, ours: list[int]) -> list[int]:
        """Which latents lie in a recorded buffer's slots."""
        end, sink = self.rollout.position, self.stream.sink
        if num_frames == len(ours):
            return ours
        return [*range(end)] if num_frames == end else [*range(sink), *range(end - num_frames + sink, end)]


def run_streaming_rollout(goldens: Goldens, case: Case, data: Data) -> None:
    found = StreamingCase(case, data)
    replay = Replay(found, goldens.transformer(case), defects_of(case))
    replay.play(with_grad=False)
    check_switches(found, replay)
    assert_all_known(data, found.used | given(data))


def run_streaming_grad(goldens: Goldens, case: Case, data: Data) -> None:
    found, known = StreamingCase(case, data), set[str]()
    prefixes = {name[: match.end()] for name in data if (match := re.match(r"[\w.]*?grad\w*\.", name))}
    assert prefixes, f"the case holds no gradients: {sorted(data)}"
    for prefix in sorted(prefixes):
        model = goldens.transformer(case).requires_grad_(True)
        model.checkpointing = is_checkpointed(prefix, case)
        replay = Replay(found, model, replace(defects_of(case), leaks_gradients=is_leaky(prefix, case)))
        assert any(call.with_grad for call in replay.calls) or len(replay.calls) == 1, "no call has gradients"
        if len(replay.calls) == 1:
            replay.calls = [replace(replay.calls[0], with_grad=True)]
        with torch.enable_grad():
            loss = loss_of(found, replay.play(with_grad=True))
            loss.backward()
        check_switches(found, replay)
        known |= check_parameter_gradients(model, data, prefix)
    assert_all_known(data, found.used | known | given(data))


def defects_of(case: Case) -> ReleasedQuirks:
    return ReleasedQuirks.as_released() if case.get("as_released", True) else ReleasedQuirks()


def check_switches(found: StreamingCase, replay: Replay) -> None:
    actual = found.case.get("actual_switch_frames")
    assert actual is None or replay.served == as_list(actual), f"switched at {replay.served}, not {actual}"


def is_leaky(prefix: str, case: Case) -> bool:
    cut = any(word in prefix for word in ("detach", "noleak", "no_leak", "cut", "corrected"))
    return case.get("as_released", True) and not cut


def is_checkpointed(prefix: str, case: Case) -> bool:
    if re.search(r"no_?(ckpt|checkpoint|gc)", prefix):
        return False
    return "ckpt" in prefix or "checkpoint" in prefix or bool(case.get("gradient_checkpointing", False))


def given(data: Data) -> set[str]:
    """Inputs, which a case need not use: an early exit asks for no further noise, say."""
    words = {*NOISE, *RENOISE, *CONTEXT, *SECOND_TEXT, "text"}
    return {name for name in data if name.rpartition(".")[2] in words or "mask" in name}


def loss_of(found: StreamingCase, latents: Tensor) -> Tensor:
    """The loss that a gradient case used: the form that gives the recorded number, else the plainest one."""
    weight = found.tensor(*WEIGHTS)
    mask = found.case.get("gradient_mask_frames")
    forms = losses(latents, weight, None if mask is None else torch.tensor(mask).bool())
    recorded = found.tensor("loss")
    expected = found.case.get("loss") if recorded is None else float(recorded)
    if expected is None:
        return next(iter(forms.values()))()
    numbers = {name: form() for name, form in forms.items()}
    told = {name: float(loss.detach()) for name, loss in numbers.items()}
    fitting = [numbers[name] for name, value in told.items() if abs(value - expected) <= 1e-5 * abs(expected)]
    assert fitting, f"no known form of the loss gives {expected}: {told}"
    check_scalar("loss", fitting[0].detach(), expected)
    return fitting[0]


def losses(x: Tensor, weight: Tensor | None, mask: Tensor | None) -> dict[str, Callable[[], Tensor]]:
    if weight is None:
        return {
            "mean square": lambda: masked_mean(x.square(), mask),
            "half mean square": lambda: 0.5 * masked_mean(x.square(), mask),
            "sum of squares": lambda: x.square().sum(),
            "mean": lambda: masked_mean(x, mask),
            "sum": lambda: x.sum(),
        }
    w = weight.narrow(1, weight.shape[1] - x.shape[1], x.shape[1]) if weight.shape[1] > x.shape[1] else weight
    return {
        "weighted sum": lambda: (x * w).sum(),
        "weighted mean": lambda: masked_mean(x * w, mask),
        "mean squared error": lambda: masked_mean((x - w).square(), mask),
        "half mean squared error": lambda: 0.5 * masked_mean((x - w).square(), mask),
        "sum of squared errors": lambda: (x - w).square().sum(),
        "dmd": lambda: 0.5 * masked_mean((x - (x - w).detach()).square(), mask),
    }
