"""Ending a video early, by the keyboard, the system or an error, so that what was made is kept."""

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
        error: what went wrong after the first chunk; None if nothing did.
    """

    def __init__(self) -> None:
        """No signal came yet."""
        self.signal: signal.Signals | None = None
        self.error: Exception | None = None

    @property
    def stopped(self) -> str:
        """``, stopped early`` if a signal or an error ended the chunks, for a result's text; else empty."""
        return ", stopped early" + " by an error" * bool(self.error) if self.signal or self.error else ""

    @property
    def exit_status(self) -> int:
        """As a shell gives it for the signal: 130 for Ctrl-C, 143 for SIGTERM; 0 without one."""
        return 0 if self.signal is None else 128 + self.signal

    def raise_error(self) -> None:
        """Raise the error that ended the chunks, once they are kept; nothing happens without one."""
        if self.error is not None:
            raise self.error

    def until(self, chunks: "Iterable[FrameChunk]") -> "Iterator[FrameChunk]":
        """Pass chunks on until a signal comes, or an error; a second signal gives the current chunk up.

        Raises:
            KeyboardInterrupt, Exception: if there is no chunk to keep by then.
        """
        count = 0
        try:
            for chunk in chunks:
                yield chunk
                count += 1
                if self.signal is not None:
                    return
        except (KeyboardInterrupt, Exception) as error:
            if not count:
                raise
            if isinstance(error, Exception):
                self.error = error


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
