"""The page on test cards in a process that measures its own memory, threads and files.

python -m tests.support.crowd     # prints its address; at each line on stdin, what it holds without any run
"""

import ctypes
import gc
import json
import sys
import time
from pathlib import Path

import httpx
import psutil
from anyio._backends._asyncio import WorkerThread

from longlive.web.middleware import abandoned_calls
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.run_reader import wait_for

THREADS_IDLE_S = 1
"""Instead of 10 s."""

LIMITS = {
    "disconnect_timeout_s": 0.3,
    "retention_s": 0.3,
    "buffer_ahead_s": 20.0,
    "max_runs_per_address": 999,
    "max_queue_size": 999,
}


def anonymous_bytes() -> int:
    """Memory that this process has asked for; pages of files come and go as the system likes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return sum(1024 * int(words[1]) for words in lines if words[0] in ("RssAnon:", "VmSwap:"))


def weigh(served: Served) -> dict[str, float]:
    """Memory, threads, open files, and what else is kept, when every run is gone."""
    served.wait_until_empty(120)
    queue = served.page._queue
    wait_for(lambda: not served.page.app.iterators and not any(queue.active_jobs), timeout=60)
    wait_for(lambda: not queue.pending_messages_per_session, timeout=60)
    time.sleep(2 * THREADS_IDLE_S)  # Gradio's threads that are idle for so long end at the next call
    httpx.post(f"{served.url}gradio_api/call/stop", json={"data": []})
    time.sleep(0.5)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    me = psutil.Process()
    return {
        "bytes": anonymous_bytes(),
        "threads": me.num_threads(),
        "files": me.num_fds(),
        "streams": len(served.page.endpoints.streams),
        "unread": sum(one.qsize() for one in queue.pending_messages_per_session.values()),
        "sessions": len(served.page.state_holder.session_data),
    }


def main() -> None:
    """Serve until the input ends."""
    abandoned_calls.UNREAD_TIMEOUT_S = 2.0
    WorkerThread.MAX_IDLE_TIME = THREADS_IDLE_S
    with serve_page(FakeModels(chunk_s=0.005, streams=16), **LIMITS) as served:  # type: ignore[arg-type]
        print(json.dumps({"url": served.url}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(weigh(served)), flush=True)


if __name__ == "__main__":
    main()
