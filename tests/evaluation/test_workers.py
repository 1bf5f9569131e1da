"""Workers give what one process gives, in order."""

import os
from pathlib import Path

import pytest
import torch

from longlive.evaluation.workers import cached_models, map_in_workers


def where(number: int) -> tuple[int, int, int]:
    return number**2, torch.get_num_threads(), os.getpid()


@pytest.mark.slow
def test_two_processes_of_one_thread_answer_in_the_order_of_the_items() -> None:
    here, there = ([*map_in_workers(where, [3, 1, 2], n, "numbers")] for n in (1, 2))
    assert [row[0] for row in here] == [row[0] for row in there] == [9, 1, 4]
    assert all(pid == os.getpid() for *_, pid in here) and all(pid != os.getpid() for *_, pid in there)
    assert {threads for _, threads, _ in there} == {1}


def test_a_model_is_read_once(tiny_folder: Path) -> None:
    assert cached_models(tiny_folder) is cached_models(tiny_folder)
