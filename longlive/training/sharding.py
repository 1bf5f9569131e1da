"""FSDP2: parameters, gradients and optimizer states spread over the processes, and their checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longlive.models.transformer import CausalWanTransformer
from longlive.training.learner import Learner
from longlive.training.processes import Processes

METHODS = ("remember", "read_prompt")
"""Ways into a transformer and its blocks beside ``forward``: parameters are gathered before them as well."""


def shard(transformer: CausalWanTransformer, processes: Processes, *, dtype: torch.dtype) -> None:
    """Spread a transformer over the processes, in place: a unit per block, and one for the rest.

    Args:
        dtype: of the parameters while they are gathered; what is kept and the gradients' sums stay float32.
    """
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    if not dist.is_initialized():  # one process, started by hand
        dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    # Casting the inputs would copy the dataclasses among them, and a cache knows its placements by identity.
    policy = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    units: list[nn.Module] = [*transformer.blocks, transformer]
    for unit in units:
        # The rest too is let go after each pass: else it would miss the optimizer's steps.
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        for method in METHODS:
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
