"""The genuine ``spaces`` package in its ZeroGPU mode; see fake_zero_gpu.py for what is played."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from tests.web.fake_zero_gpu import VISITOR, FakeDevice, fake_device, program, until


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDevice, Client]]:
    with (
        fake_device(tmp_path_factory.mktemp("device")) as device,
        program(device, "tests/web/counter_app.py") as address,
    ):
        yield device, Client(address, headers=VISITOR, verbose=False)


@pytest.fixture
def counting(counter: tuple[FakeDevice, Client]) -> tuple[FakeDevice, Client]:
    """The counter's page, with a device as it comes."""
    device, client = counter
    device.idle, device.left_s = True, None
    return device, client


def test_a_generator_takes_prompts_while_it_runs_in_its_own_process(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    assert device.reports == 1
    job = client.submit(str(tmp_path), 60, 30, api_name="/count")
    until(lambda: len(job.outputs()) > 5)
    promised = client.predict(str(tmp_path), "jump", api_name="/prompt")
    *_, last = (output.split() for output in job)
    assert last[2:] == ["59", "jump"]
    texts = [output.split()[3] for output in job.outputs()]
    assert texts.index("jump") == promised
    lease = device.leases[-1]
    assert (lease.pid, lease.seconds) == (int(last[0]), 30)
    until(lambda: not lease.is_out)
    assert not lease.has_failed


def test_a_worker_is_used_again_if_the_device_says_so(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    first, second = (client.predict(str(tmp_path), 1, 30, api_name="/count").split() for _ in range(2))
    assert first[0] == second[0]
    assert int(second[1]) == int(first[1]) + 1
    device.idle = False
    third = client.predict(str(tmp_path), 1, 30, api_name="/count").split()
    assert third[0] != second[0]
    assert third[1] == "1", "a new worker begins as the program was when it was forked"


def test_a_cancelled_generator_gives_its_device_back(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    job = client.submit(str(tmp_path), 100_000, 30, api_name="/count")
    until(lambda: len(job.outputs()) > 5)
    job.cancel()
    until(lambda: not device.out())
    assert not device.leases[-1].has_failed


def test_a_killed_worker_and_a_used_up_quota_are_errors(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    job = client.submit(str(tmp_path), 100_000, 30, api_name="/count")
    until(lambda: len(job.outputs()) > 5)
    device.kill(device.leases[-1])
    with pytest.raises(Exception, match="GPU task aborted"):
        job.result()
    assert device.leases[-1].has_failed
    device.left_s = 41
    with pytest.raises(Exception, match=r"\(60s requested vs. 41s left\). Try again in 3:12:00"):
        client.predict(str(tmp_path), 1, 60, api_name="/count")
    assert device.refused == [60]
