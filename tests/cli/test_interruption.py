"""Ctrl-C, SIGTERM and a closed terminal end a video after the current chunk; a second one, at once."""

import os
import signal
from collections.abc import Iterator

import pytest

from longlive.chunks import FrameChunk
from longlive.cli.interruption import SIGNALS, interruption
from tests.support.pictures import make_chunk


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    """No signal is ignored, even if the tests were started in the background or by nohup."""
    usual = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_chunks_and_gives_the_status_of_a_shell(
    number: signal.Signals, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with interruption() as interrupted:
        made = []
        for chunk in interrupted.until(map(make_chunk, range(9))):
            made.append(chunk)
            if len(made) == 3:
                os.kill(os.getpid(), number)
    assert (len(made), interrupted.exit_status) == (3, status)
    assert "what was made is kept" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_second_signal_gives_the_current_chunk_up_and_keeps_the_others() -> None:
    def slow() -> Iterator[FrameChunk]:
        yield make_chunk(0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield make_chunk(1)

    with interruption() as interrupted:
        assert [chunk.index for chunk in interrupted.until(slow())] == [0]


def test_an_error_keeps_the_chunks_before_it_and_is_raised_in_the_end() -> None:
    def broken(first: int) -> Iterator[FrameChunk]:
        yield from map(make_chunk, range(first))
        raise RuntimeError("no memory")

    with interruption() as interrupted:
        assert [chunk.index for chunk in interrupted.until(broken(2))] == [0, 1]
    assert interrupted.stopped == ", stopped early by an error"
    with pytest.raises(RuntimeError, match="no memory"):
        interrupted.raise_error()
    with interruption() as interrupted, pytest.raises(RuntimeError, match="no memory"):
        list(interrupted.until(broken(0)))
    assert not interrupted.stopped


def test_without_a_chunk_there_is_nothing_to_keep() -> None:
    def slow() -> Iterator[FrameChunk]:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        yield make_chunk(0)

    with interruption() as interrupted, pytest.raises(KeyboardInterrupt):
        list(interrupted.until(slow()))


def test_signals_that_nohup_ignores_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption() as interrupted:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupted.exit_status == 0 and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_signal_all_chunks_pass_and_the_status_is_0() -> None:
    with interruption() as interrupted:
        assert len(list(interrupted.until(map(make_chunk, range(4))))) == 4
    assert interrupted.exit_status == 0 and len(SIGNALS) == 3
