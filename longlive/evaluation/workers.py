"""A task for many items, spread over processes of one thread each that load their models themselves."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from longlive.models.bundle import ModelBundle
from longlive.runtime.allocator import configure_cpu
from longlive.weights.loading import load_models

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_workers(
    task: Callable[[Item], Result], items: Sequence[Item], num_workers: int, title: str
) -> Iterator[Result]:
    """The results of ``task`` in the order of ``items``, with a progress bar; 1 worker is this process."""
    with tqdm(total=len(items), desc=title, unit="batch") as bar:
        for result in _results(task, items, num_workers):
            bar.update()
            yield result


@lru_cache(maxsize=2)
def models_in(folder: Path) -> ModelBundle:
    """The model of a folder, kept for the next item that wants it."""
    return load_models(folder)


def _results(task: Callable[[Item], Result], items: Sequence[Item], num_workers: int) -> Iterator[Result]:
    if num_workers == 1:
        yield from map(task, items)
        return
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(num_workers, configure_cpu, (1,)) as pool:
        yield from pool.imap(task, items)
