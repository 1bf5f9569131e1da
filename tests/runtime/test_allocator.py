"""What a process asks of torch and of the C library when it is to compute on the CPU."""

import os
import platform
import subprocess
import sys

import pytest

import longlive.runtime.allocator as module
from longlive.runtime.allocator import configure_cpu, trim_heap

# Page faults of three chunks of storybook made in a thread, before and after `configure_cpu`.
FAULTS = """
import resource, threading
import torch
from longlive.weights.loading import load_models
from longlive.runtime.allocator import configure_cpu
from longlive.generation.session import Session

def faults(num_chunks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(num_chunks):
        session.next_chunk()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    faults(3)
    plain = max(faults(3) for _ in range(4))  # how much is given back changes from chunk to chunk
    configure_cpu(2)
    faults(2)
    print(torch.get_num_threads(), plain, faults(3))

torch.set_num_threads(1)
session = Session(load_models("storybook", device=torch.device("cpu")), "a red ball stands on snow", seed=1)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def counted(**variables: str) -> tuple[int, ...]:
    own = {name: value for name, value in os.environ.items() if name not in module._USER_SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=own | variables, capture_output=True, text=True, check=True
    )
    return tuple(map(int, done.stdout.split()))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's alone")
@pytest.mark.slow
def test_memory_that_a_chunk_leaves_free_is_kept_for_the_next() -> None:
    threads, plain, settled = counted()
    assert threads == 2
    assert settled < plain / 5, (plain, settled)


def test_whoever_has_set_glibc_s_own_variables_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Library:
        @staticmethod
        def mallopt(what: int, value: int) -> None:
            asked.append((what, value))

    monkeypatch.setattr(module, "_library", Library)
    for name in module._USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    configure_cpu(1)
    assert sorted(asked) == [(-3, 2**25), (-1, 2**30)]
    asked.clear()
    for name in module._USER_SETTINGS:
        with monkeypatch.context() as own:
            own.setenv(name, "1")
            configure_cpu(1)
    assert not asked


@pytest.mark.parametrize("library", [None, object()])
def test_another_c_library_is_left_alone(library: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module._USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_library", lambda: library)
    configure_cpu(1)
    trim_heap()
