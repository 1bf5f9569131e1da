import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from longlive.packed import Packed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("shape", [(1, 3, 4, 2, 5), (7,), ()])
def test_a_tensor_comes_back_the_same(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape).to(dtype)
    back = Packed.of(tensor).tensor()
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(back.float(), tensor.float())


def test_a_part_of_a_tensor_takes_only_its_own_bytes_and_can_be_written_to() -> None:
    whole = torch.randn(100, 8, 3)
    back = Packed.of(part := whole[3:5].transpose(0, 1)).tensor()
    assert torch.equal(back, part)
    assert len(pickle.dumps(Packed.of(part))) < 1000
    back += 1
    assert not torch.equal(back, part)


def test_it_crosses_to_another_process_as_bytes_and_not_as_an_open_file() -> None:
    """A tensor itself would: torch teaches multiprocessing to share it."""
    tensor = torch.arange(6.0)
    assert tensor.numpy().tobytes() not in bytes(ForkingPickler.dumps(tensor))
    assert tensor.numpy().tobytes() in bytes(ForkingPickler.dumps(Packed.of(tensor)))
