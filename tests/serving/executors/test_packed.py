import multiprocessing
import os
import pickle
import signal
from typing import Any

import pytest
import torch

from longlive.serving.executors.packed import Packed


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


def put_and_die(queue: Any, value: Any) -> None:
    queue.put(value)
    os.kill(os.getpid(), signal.SIGKILL)


def test_it_outlives_the_process_that_sent_it() -> None:
    """The tensor itself does not: torch has multiprocessing send it as an open file, to be fetched there."""
    context = multiprocessing.get_context("fork")
    tensor = torch.arange(6.0)
    for value in (Packed.of(tensor), tensor):
        queue = context.SimpleQueue()
        process = context.Process(target=put_and_die, args=(queue, value))
        process.start()
        process.join()
        if value is tensor:
            with pytest.raises(ConnectionError):
                queue.get()
        else:
            assert torch.equal(queue.get().tensor(), tensor)
