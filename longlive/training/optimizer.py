"""Muon for the matrices and AdamW for the rest, with one learning-rate schedule.

Source: Muon is momentum whose matrix updates are orthogonalised by a Newton-Schulz iteration (K. Jordan,
2024); the update's size is matched to AdamW's (arXiv:2502.16982, 0.2 * sqrt(longer side)), so that both
share a learning rate.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class MuonAdamW(torch.optim.Optimizer):
    """Muon on hidden matrices and convolutions, AdamW on vectors, embeddings, inputs and outputs.

    Args:
        module: whose parameters are trained.
        adam_names: parts of names of matrices that AdamW is to take all the same.
        lr: learning rate of the matrices; AdamW runs at ``adam_ratio`` times it.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        adam_names: Iterable[str] = (),
        lr: float = 4e-3,
        adam_ratio: float = 0.5,
        betas: tuple[float, float] = (0.9, 0.98),
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        names = tuple(adam_names)
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            small = parameter.dim() < 2 or min(parameter.shape[0], parameter[0].numel()) < 16
            (rest if small or any(part in name for part in names) else matrices).append(parameter)
        groups = [
            {"params": matrices, "muon": True, "ratio": 1.0},
            {"params": rest, "muon": False, "ratio": adam_ratio},
        ]
        super().__init__(
            groups, {"lr": lr, "betas": betas, "momentum": momentum, "weight_decay": weight_decay}
        )

    def set_lr(self, lr: float) -> None:
        """Set the matrices' learning rate; AdamW's follows."""
        for group in self.param_groups:
            group["lr"] = lr * group["ratio"]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients that are there."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                self._step_muon(parameters, group)
            else:
                self._step_adam(parameters, group)

    def _step_muon(self, parameters: list[Tensor], group: dict) -> None:
        same_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in parameters:
            grad = _grad(parameter).flatten(1)
            state = self.state[parameter]
            average = state.setdefault("momentum", torch.zeros_like(grad))
            average.lerp_(grad, 1 - group["momentum"])
            same_shape[tuple(grad.shape)].append((parameter, grad.lerp(average, group["momentum"])))
        for shape, entries in same_shape.items():
            updates = orthogonalise(torch.stack([update for _, update in entries]))
            size = group["lr"] * 0.2 * math.sqrt(max(shape))
            for (parameter, _), update in zip(entries, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view_as(parameter), alpha=-size)

    def _step_adam(self, parameters: list[Tensor], group: dict) -> None:
        slow, fast = group["betas"][1], group["betas"][0]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            state["step"] += 1
            state["mean"].lerp_(_grad(parameter), 1 - fast)
            state["square"].lerp_(_grad(parameter).square(), 1 - slow)
            mean = state["mean"] / (1 - fast ** state["step"])
            spread = (state["square"] / (1 - slow ** state["step"])).sqrt_().add_(1e-8)
            parameter.addcdiv_(mean, spread, value=-group["lr"])


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def orthogonalise(updates: Tensor) -> Tensor:
    """The nearest matrices (N, rows, columns) with all singular values about 1; computed in bfloat16."""
    x = updates.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(updates.dtype)


def learning_rate(step: int, num_steps: int, peak: float, *, warm_up: int = 50, decay: float = 0.4) -> float:
    """Linear warm-up, constant, and linear to (almost) zero over the last ``decay`` of the steps."""
    falling = (num_steps - step) / max(1, num_steps * decay)
    return peak * min(1.0, (step + 1) / warm_up, max(0.01, falling))


class MovingAverage:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Follow the module; faster at first, so that the start is forgotten."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.named_parameters():
            self.values[name].lerp_(value, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's parameters with the averages."""
        for name, value in module.named_parameters():
            value.copy_(self.values[name])
