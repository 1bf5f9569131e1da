"""Without CUDA, work runs where it is called; with it, streams are reused."""

import pytest
import torch

from longlive.generation import cuda_streams
from longlive.generation.cuda_streams import SideStream, mark

CPU = torch.device("cpu")


def test_on_a_cpu_work_runs_where_it_is_called() -> None:
    assert mark(CPU) is None
    with SideStream(CPU).after(mark(CPU), torch.zeros(1)):
        assert torch.ones(1).item() == 1


class FakeStream:
    """Stands for torch.cuda.Stream."""

    made = 0

    def __init__(self, device: torch.device, priority: int) -> None:
        assert priority == -1
        FakeStream.made += 1
        self.device = torch.device("cuda", 0)


def test_a_closed_stream_is_taken_again_and_one_in_use_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cuda_streams, "_idle", {})
    FakeStream.made = 0
    first, second = SideStream(torch.device("cuda")), SideStream(torch.device("cuda", 0))
    assert FakeStream.made == 2
    first.close()
    first.close()
    third, fourth = SideStream(torch.device("cuda")), SideStream(torch.device("cuda"))
    assert FakeStream.made == 3, "closing twice leaves one stream, not two"
    for one in (second, third, fourth):
        one.close()
