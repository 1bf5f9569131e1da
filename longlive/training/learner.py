"""One model in training: its trainable parameters, optimizer, moving average, and their state.

The moving average is our own: ``torch.optim.swa_utils.AveragedModel`` copies the whole module, frozen
parameters included, which for a LoRA means a second model in memory (figures in the README).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from longlive.errors import ConfigError
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, RunOptions

EMBEDDINGS = ("shared", "patch_embedding", "proj_out", "relative_attention_bias")
"""Substrings of the names of a transformer's and text encoder's matrices that Muon leaves to AdamW."""


class Learner:
    """Updates a module's trainable parameters from the gradients that backward passes have accumulated."""

    def __init__(
        self,
        module: nn.Module,
        options: LearnerOptions,
        run: RunOptions,
        processes: Processes,
        *,
        adam_names: Sequence[str] = EMBEDDINGS,
    ) -> None:
        """Train the parameters of ``module`` that require gradients; freeze, add a LoRA or shard before.

        Args:
            adam_names: substrings of the names of matrices that Muon leaves to AdamW.
        """
        self.module = module
        self.options = options
        self._run, self._processes = run, processes
        self.parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.optimizer = self._new_optimizer(adam_names)
        self._average: dict[str, Tensor] = {}
        if options.ema:
            self._average = {name: value.detach().clone() for name, value in self.parameters.items()}

    def step(self, step: int) -> float:
        """Update the parameters at optimisation step ``step``; return the gradient norm before clipping.

        The gradients are averaged over the processes before, and reset after the update.
        """
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        if not self.is_sharded:
            self._processes.average(gradients)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.options.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr_at(step, self._run.steps) * group.get("ratio", 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._update_average(step)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Swap the moving average, if there is one, into the module for the duration of the context."""
        self._swap()
        try:
            yield self.module
        finally:
            self._swap()

    @property
    def is_sharded(self) -> bool:
        """Whether the parameters are sharded over the processes."""
        return self._run.shard

    def shapes(self) -> dict[str, list[int]]:
        """The shapes of the trainable parameters, by name."""
        return {name: list(value.shape) for name, value in self.parameters.items()}

    def whole_state(self) -> dict[str, Tensor]:
        """The module's state dict in host memory; if it is sharded, every process must call this."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        if self.is_sharded:
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            return dict(get_model_state_dict(self.module, options=options))  # type: ignore[arg-type]
        return {name: tensor.detach().cpu() for name, tensor in self.module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Parameters, optimizer state and moving average, for ``load``."""
        parameters = {name: value.detach() for name, value in self.parameters.items()}
        return {
            "parameters": parameters,
            "optimizer": self.optimizer.state_dict(),
            "average": self._average,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore a ``state`` of the same shapes."""
        self.load_parameters(state)
        self.optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def load_parameters(self, state: dict[str, Any]) -> None:
        """Restore parameters and moving average; leave the optimizer as it is."""
        for name, value in self.parameters.items():
            value.copy_(state["parameters"][name])
        for name, average in self._average.items():
            average.copy_(state["average"][name])

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Update the moving average; the decay is smaller in the first steps, to forget the start."""
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

    def _new_optimizer(self, adam_names: Sequence[str]) -> torch.optim.Optimizer:
        options = self.options
        if options.optimizer == "muon":
            if self.is_sharded:
                rule = "it needs whole matrices, and run.shard cuts them"
                raise ConfigError("optimizer", "muon", rule, "Use adamw, or run.shard = false.")
            from longlive.training.optimizer import MuonAdamW

            return MuonAdamW(
                self.module, adam_names=adam_names, lr=options.lr, weight_decay=options.weight_decay
            )
        return torch.optim.AdamW(
            self.parameters.values(),
            lr=options.lr,
            betas=options.betas,
            weight_decay=options.weight_decay,
        )
