"""Without CUDA, work runs where it is called."""

import torch

from longlive.generation.cuda_streams import SideStream, mark

CPU = torch.device("cpu")


def test_on_a_cpu_work_runs_where_it_is_called() -> None:
    assert mark(CPU) is None
    with SideStream(CPU).after(mark(CPU), torch.zeros(1)):
        assert torch.ones(1).item() == 1
