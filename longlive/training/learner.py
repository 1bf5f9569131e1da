"""One model in training: its trainable parameters, optimizer, moving average, and their state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from longlive.errors import ConfigError
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, Run

EMBEDDINGS = ("shared", "patch_embedding", "proj_out", "relative_attention_bias")
"""Parts of the names of matrices that Muon leaves to AdamW."""


class Learner:
    """Steps a module's trainable parameters along the gradients that backward passes have left in them."""

    def __init__(self, module: nn.Module, options: LearnerOptions, run: Run, processes: Processes) -> None:
        """``module`` is trained as it is: freeze it, add a LoRA or shard it before."""
        self.module = module
        self.options = options
        self._run, self._processes = run, processes
        self.parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.optimizer = self._new_optimizer()
        self._average: dict[str, Tensor] = {}
        if options.ema:
            self._average = {name: value.detach().clone() for name, value in self.parameters.items()}

    def step(self, step: int) -> float:
        """One update at optimisation step ``step``; returns the norm of the gradient before clipping.

        The gradients are averaged over the processes and then forgotten.
        """
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        if not self.is_sharded:
            self._processes.average(gradients)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.options.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr_at(step, self._run.steps) * group.get("ratio", 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._replay(step)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The module with the moving average, if there is one, in place of its parameters."""
        self._swap()
        try:
            yield self.module
        finally:
            self._swap()

    @property
    def is_sharded(self) -> bool:
        """Whether the parameters are spread over the processes."""
        return self._run.shard

    def shapes(self) -> dict[str, list[int]]:
        """The shapes of the trainable parameters, by name."""
        return {name: list(value.shape) for name, value in self.parameters.items()}

    def whole_state(self) -> dict[str, Tensor]:
        """The module's state as plain tensors in host memory; every process must ask, if it is sharded."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        if self.is_sharded:
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            return dict(get_model_state_dict(self.module, options=options))  # type: ignore[arg-type]
        return {name: tensor.detach().cpu() for name, tensor in self.module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """All that ``load`` needs to go on as if nothing had happened."""
        parameters = {name: value.detach() for name, value in self.parameters.items()}
        return {
            "parameters": parameters,
            "optimizer": self.optimizer.state_dict(),
            "average": self._average,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a ``state`` of the same shapes."""
        self.load_parameters(state)
        self.optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def load_parameters(self, state: dict[str, Any]) -> None:
        """As ``load``, but leave the optimizer as it is."""
        for name, value in self.parameters.items():
            value.copy_(state["parameters"][name])
        for name, average in self._average.items():
            average.copy_(state["average"][name])

    @torch.no_grad()
    def _replay(self, step: int) -> None:
        """Let the average follow; faster at first, so that the start is forgotten."""
        decay = min(self.options.ema, (step + 1) / (step + 10))
        for name, value in self._average.items():
            value.lerp_(self.parameters[name].detach(), 1 - decay)

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._average.items():
            parameter = self.parameters[name]
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        options = self.options
        if options.optimizer == "muon":
            if self.is_sharded:
                rule = "it needs whole matrices, and run.shard cuts them"
                raise ConfigError("optimizer", "muon", rule, "Use adamw, or run.shard = false.")
            from longlive.training.optimizer import MuonAdamW

            return MuonAdamW(
                self.module, adam_names=EMBEDDINGS, lr=options.lr, weight_decay=options.weight_decay
            )
        return torch.optim.AdamW(
            self.parameters.values(),
            lr=options.lr,
            betas=options.betas,
            weight_decay=options.weight_decay,
        )
