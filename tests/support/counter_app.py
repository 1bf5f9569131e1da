"""The smallest page with a ZeroGPU generator: it counts, and takes messages meanwhile."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import spaces

from longlive.serving.executors.file_mailbox import FileMailbox
from longlive.serving.executors.messages import Message, Prompt, Stop
from longlive.serving.metrics import Metrics
from longlive.serving.status import EngineStatus
from longlive.web.health import routes_of
from longlive.web.page import page_options

num_calls = 0


@spaces.GPU(duration=lambda folder, numbers, lease_s: lease_s)
def count_up(folder: str, numbers: int, lease_s: int) -> Iterator[str]:
    """Process, call within the process, number, newest prompt; ends when stopped."""
    global num_calls
    num_calls += 1
    mailbox, text = FileMailbox(Path(folder)), "none"
    came: list[Message] = []
    for number in range(numbers):
        for message in [*came, *mailbox.start_chunk(number)]:
            if isinstance(message, Stop):
                return
            text = getattr(message, "text", text)
        yield f"{os.getpid()} {num_calls} {number} {text}"
        came = mailbox.poll(0.01)


def count(folder: str, numbers: int, lease_s: int) -> Iterator[str]:
    """As count_up, by the way of a page's event."""
    yield from count_up(folder, numbers, lease_s)


def prompt(folder: str, text: str) -> int:
    """Post a prompt; the number that it is promised for."""
    posted = FileMailbox(Path(folder)).post(Prompt(text))
    assert isinstance(posted, Prompt), posted
    return posted.chunk


with gr.Blocks() as page:
    gr.api(count, api_name="count", concurrency_limit=4)
    gr.api(prompt, api_name="prompt", concurrency_limit=None)
status = EngineStatus(running=num_calls, waiting=0, capacity=4, executor="zerogpu", model="a counter")
routes = routes_of(lambda: status, Metrics())
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), **page_options(routes))
