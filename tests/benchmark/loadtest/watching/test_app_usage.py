"""What the app takes: of the process that listens, if it is on this machine."""

import socket
import time

import pytest

from longlive.benchmark.loadtest.watching.app_usage import AppUsage, UsageSample, cpu_share


def test_the_process_that_listens_is_found_and_sampled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        usage = AppUsage(f"http://127.0.0.1:{server.getsockname()[1]}/")
        sample = usage.sample(5.0)
    assert sample is not None and sample.at == 5.0 and sample.rss > 10e6
    assert 0 < sample.cpu_s <= time.process_time() + 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://example.org/", "http://192.0.2.1:7860/"])
def test_of_an_app_elsewhere_nothing_is_known(url: str) -> None:
    assert AppUsage(url).sample(0.0) is None


def test_the_share_is_that_of_one_core() -> None:
    first, last = UsageSample(10.0, 3.0, 0), UsageSample(14.0, 5.0, 0)
    assert cpu_share(first, last) == 0.5
    assert cpu_share(None, last) is cpu_share(first, None) is cpu_share(first, first) is None
