"""The processes of a run, as accelerate started them, and what they tell each other."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from longlive.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """This process among all of the run.

    Attributes:
        rank: number of this process.
        count: how many there are.
        device: of this process.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def start(cls) -> "Processes":
        """Join the others, if ``accelerate launch`` or torchrun started several: NCCL on GPUs, else gloo."""
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        device = torch.device(state.device.type) if state.device.type == "cpu" else state.device
        return cls(state.process_index, state.num_processes, device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs and shared files."""
        return self.rank == 0

    def streams(self, num_streams: int) -> range:
        """The numbers of the streams that are this process's: neighbours, as many for each process."""
        if num_streams % self.count:
            rule = f"its {num_streams} micro-batches must be the same for each of {self.count} processes"
            raise ConfigError("global_batch", num_streams, rule, "Change it, micro_batch or the processes.")
        own = num_streams // self.count
        return range(self.rank * own, (self.rank + 1) * own)

    def wait(self) -> None:
        """Go on when all processes have come here."""
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

    def gather(self, words: str) -> list[str]:
        """What every process says, by rank."""
        said: list[str] = [words] * self.count
        if self.count > 1:
            dist.all_gather_object(said, words)
        return said
