"""Map a function over tasks in processes of one thread each, which load their models themselves."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from longlive.models.bundle import ModelBundle
from longlive.runtime.allocator import configure_cpu
from longlive.weights.loading import load_models

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_workers(
    function: Callable[[Task], Result], tasks: Sequence[Task], num_workers: int, title: str
) -> Iterator[Result]:
    """Yield the results in the order of ``tasks``, with a progress bar.

    Args:
        function: must be picklable, as must tasks and results.
        num_workers: 1 runs all tasks in this process.
        title: of the progress bar.
    """
    with tqdm(total=len(tasks), desc=title, unit="batch") as bar:
        for result in _results(function, tasks, num_workers):
            bar.update()
            yield result


@lru_cache(maxsize=2)
def cached_models(folder: Path) -> ModelBundle:
    """The model of a folder, kept in this process for further tasks."""
    return load_models(folder)


def _results(function: Callable[[Task], Result], tasks: Sequence[Task], num_workers: int) -> Iterator[Result]:
    if num_workers == 1:
        yield from map(function, tasks)
        return
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(num_workers, configure_cpu, (1,)) as pool:
        yield from pool.imap(function, tasks)
