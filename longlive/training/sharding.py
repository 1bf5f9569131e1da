"""FSDP2: parameters, gradients and optimizer states spread over the processes, and their checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.transformer import CausalWanTransformer

METHODS = ("remember", "read_prompt")
"""Ways into the transformer beside ``forward``, before which its parameters must be gathered as well."""


def shard(transformer: CausalWanTransformer, processes: Processes, *, dtype: torch.dtype) -> None:
    """Spread a transformer over the processes, in place: a unit per block, and one for the rest.

    Args:
        dtype: to compute in; what is kept and the gradients' sums stay float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(processes.device.type, (processes.count,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=torch.float32)
    units: list[tuple[nn.Module, tuple[str, ...]]] = [
        *((block, ("remember", "read_text")) for block in transformer.blocks),
        (transformer, METHODS),
    ]
    for unit, methods in units:
        fully_shard(unit, mesh=mesh, mp_policy=policy)
        for method in methods:
            register_fsdp_forward_method(unit, method)


def save_sharded(path: Path, learners: Mapping[str, Learner]) -> None:
    """Every process writes its own part."""
    from torch.distributed import checkpoint

    checkpoint.save(_states(learners), checkpoint_id=path)


def load_sharded(path: Path, learners: Mapping[str, Learner]) -> None:
    """Every process reads its own part; their number may have changed."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

    states = _states(learners)
    checkpoint.load(states, checkpoint_id=path)
    for name, learner in learners.items():
        learner.load_parameters(states[name])
        set_optimizer_state_dict(
            learner.module, learner.optimizer, optim_state_dict=states[name]["optimizer"]
        )


def _states(learners: Mapping[str, Learner]) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    return {
        name: learner.state() | {"optimizer": get_optimizer_state_dict(learner.module, learner.optimizer)}
        for name, learner in learners.items()
    }
