"""A process alone: its share of the micro-batches, and collectives that leave numbers as they are."""

import pytest
import torch

from longlive import ConfigError
from longlive.training.processes import Processes


def test_each_process_gets_neighbouring_streams_of_its_own() -> None:
    assert [list(Processes(rank, 2).streams(4)) for rank in (0, 1)] == [[0, 1], [2, 3]]
    with pytest.raises(ConfigError, match="must be the same for each of 2 processes"):
        Processes(0, 2).streams(3)


def test_collectives_of_a_single_process_change_nothing() -> None:
    alone, tensor = Processes(), torch.tensor([1.0, 2.0])
    alone.average([tensor])
    assert tensor.tolist() == [1.0, 2.0]
    assert alone.mean({"loss": 0.5, "norm": 3.0}) == {"loss": 0.5, "norm": 3.0}
    assert alone.gather("text") == ["text"]
    assert alone.is_main and not Processes(1, 2).is_main
