"""Run coroutines in a thread of their own, beside the event loop that Playwright keeps in the main thread."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def call_in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new thread, which has no event loop yet."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def run_in_thread(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a new thread and return its result."""
    return call_in_thread(asyncio.run, coroutine)
