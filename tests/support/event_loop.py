"""Coroutines beside the event loop that Playwright keeps running in the main thread."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def call_aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a thread of its own, which has no event loop yet."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def run_aside(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns."""
    return call_aside(asyncio.run, coroutine)
