"""What the app itself takes of the machine, if it runs on this one."""

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import psutil


@dataclass(frozen=True)
class UsageSample:
    """Processor time since the app began, in seconds, and its memory in bytes, at a moment of the test."""

    at: float
    cpu_s: float
    rss: int


class AppUsage:
    """Samples of the process that listens at an address; none where it cannot be found."""

    def __init__(self, url: str) -> None:
        """Find the process."""
        self._process = _listener(urlsplit(url))

    def sample(self, now: float) -> UsageSample | None:
        """What it has taken so far."""
        if self._process is None:
            return None
        try:
            times, memory = self._process.cpu_times(), self._process.memory_info()
        except psutil.Error:
            return None
        return UsageSample(now, times.user + times.system, memory.rss)


def cpu_share(first: UsageSample | None, last: UsageSample | None) -> float | None:
    """Processor cores that the app had in use between two samples; None if that is not known."""
    if first is None or last is None or last.at <= first.at:
        return None
    return (last.cpu_s - first.cpu_s) / (last.at - first.at)


def _listener(url: SplitResult) -> psutil.Process | None:
    if url.hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    try:
        found = [
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == url.port
        ]
        return psutil.Process(found[0]) if found and found[0] else None
    except psutil.Error:
        return None
