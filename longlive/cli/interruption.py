"""Ending a video early, by the keyboard or the system, so that what was made is kept."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longlive.chunks import FrameChunk

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interruption:
    """Whether the program was asked to end, by Ctrl-C, SIGTERM, or its terminal being closed.

    Attributes:
        signal: the signal that came; None if none did.
    """

    def __init__(self) -> None:
        """No signal came yet."""
        self.signal: signal.Signals | None = None

    @property
    def exit_status(self) -> int:
        """As a shell gives it for the signal: 130 for Ctrl-C, 143 for SIGTERM; 0 without one."""
        return 0 if self.signal is None else 128 + self.signal

    def until(self, chunks: "Iterable[FrameChunk]") -> "Iterator[FrameChunk]":
        """Pass chunks on until a signal comes; a second signal gives the current chunk up.

        Raises:
            KeyboardInterrupt: if there is no chunk to keep by then.
        """
        count = 0
        try:
            for chunk in chunks:
                yield chunk
                count += 1
                if self.signal is not None:
                    return
        except KeyboardInterrupt:
            if not count:
                raise


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Note a first signal instead of ending at once; a second one raises KeyboardInterrupt.

    Signals that the program was started to ignore (``nohup``) stay ignored. In another thread than the main
    one nothing is changed.
    """
    state = Interruption()

    def note(number: int, _: FrameType | None) -> None:
        if state.signal is not None:
            raise KeyboardInterrupt
        state.signal = signal.Signals(number)
        with contextlib.suppress(OSError):  # the terminal may be gone
            sys.stderr.write("\nlonglive: ending after this chunk; what was made is kept (again: at once)\n")

    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
