"""The processes of a distributed run, and the collectives that training needs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from longlive.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """This process of a run.

    Attributes:
        rank: of this process.
        count: number of processes.
        device: of this process.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def start(cls) -> "Processes":
        """Join the process group of ``accelerate launch`` or torchrun, if any: NCCL on GPUs, else gloo."""
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        device = torch.device(state.device.type) if state.device.type == "cpu" else state.device
        return cls(state.process_index, state.num_processes, device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs and shared files."""
        return self.rank == 0

    def streams(self, num_streams: int) -> range:
        """The numbers of this process's micro-batches: consecutive, and equally many for each process."""
        if num_streams % self.count:
            rule = f"its {num_streams} micro-batches must be the same for each of {self.count} processes"
            raise ConfigError("global_batch", num_streams, rule, "Change it, micro_batch or the processes.")
        own = num_streams // self.count
        return range(self.rank * own, (self.rank + 1) * own)

    def wait(self) -> None:
        """Wait for all processes (barrier)."""
        if self.count > 1:
            dist.barrier()

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over the processes, in place."""
        if self.count == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The means over the processes of numbers that all of them have by the same names."""
        flat = torch.tensor(list(values.values()), dtype=torch.float64)
        if self.count > 1:
            flat = flat.to(self.device)
            dist.all_reduce(flat)
        return dict(zip(values, (flat / self.count).tolist(), strict=True))

    def gather(self, text: str) -> list[str]:
        """The ``text`` of every process, by rank."""
        texts: list[str] = [text] * self.count
        if self.count > 1:
            dist.all_gather_object(texts, text)
        return texts
