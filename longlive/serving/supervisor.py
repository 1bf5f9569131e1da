"""How a run is made: by one carriage after another, until it rests, waits for another, or ends."""

import logging
import time

from longlive.config import ResumeMode
from longlive.errors import LongLiveError, LostError
from longlive.serving.events import RunFinished
from longlive.serving.executors.events import (
    ExecutorEvent,
    Failure,
    Finished,
    NoticeEvent,
    Preempted,
    SegmentEvent,
)
from longlive.serving.executors.executor import Executor
from longlive.serving.executors.messages import Stop
from longlive.serving.metrics import EndWord, Metrics
from longlive.serving.run import Run, State

logger = logging.getLogger(__name__)

TRIES = 3
EXACT_CHUNKS = 160
"""A longer story is taken up in the quick way, unless it is told otherwise."""


class RunSupervisor:
    """What the thread of a run does; many runs share it."""

    def __init__(self, carrier: Executor, metrics: Metrics, resume: ResumeMode) -> None:
        """Have runs made by ``carrier``.

        Args:
            carrier: makes them.
            metrics: where failures and ends are counted.
            resume: how a story goes on after an interruption; ``auto``: exactly, unless it is long or that
                fails.
        """
        self._carrier, self._metrics, self._resume = carrier, metrics, resume

    def go(self, run: Run) -> State:
        """Have a run carried once; the state that it is in afterwards. Errors end it in words."""
        try:
            last = (
                self._carry(run) if run.stopping is None else Finished(run.stopping.reason, run.stopping.keep)
            )
        except LostError as error:
            last = Preempted(str(error))
            self._note_failure(run, "worker lost", str(error))
        except LongLiveError as error:
            last = Finished(str(error), failed=True)
        except Exception as error:
            logger.exception("run %s broke at chunk %d", run.name, run.num_chunks)
            last = Finished(f"The story broke: {type(error).__name__}. Press Start again.", failed=True)
        finally:
            run.carried_by(None)
        run.played_s += time.monotonic() - run.changed
        try:
            return self._after(run, last)
        except Exception as error:
            logger.exception("run %s could not end well", run.name)
            return self._end(
                run, Finished(f"The story broke: {type(error).__name__}.", keep=False, failed=True)
            )

    def _carry(self, run: Run) -> ExecutorEvent:
        run.began = run.began or time.monotonic()
        before = run.num_chunks
        exact = self._is_exact(run)
        order = run.board(exact=exact)
        if order.past is not None:
            way = "exactly where it was" if exact else "from a quick memory of its last seconds"
            run.say(NoticeEvent(f"Your story goes on, {way}."))
            self._metrics.resumed("exact" if exact else "quick")
            run.journal.resumed("exact" if exact else "quick", before, run.break_words)
        carriage = self._carrier.start(order)
        run.carried_by(carriage)
        for report in carriage.reports():
            if isinstance(report, SegmentEvent):
                run.take(report)
                run.tries = 0
            elif isinstance(report, NoticeEvent):
                if report.failure:
                    self._note_failure(run, report.failure, report.words)
                run.say(report)
            else:
                return report
        raise LostError("it said no last word")

    def _is_exact(self, run: Run) -> bool:
        """Whether it goes on exactly; the last try is a quick one."""
        if self._resume == "auto":
            return run.num_chunks <= EXACT_CHUNKS and run.tries < TRIES
        return self._resume == "exact"

    def _note_failure(self, run: Run, what: Failure, why: str) -> None:
        self._metrics.failed(what)
        run.journal.failed(what, run.num_chunks, why)

    def _after(self, run: Run, last: ExecutorEvent) -> State:
        """After a carriage: rest, wait for another, or end."""
        if run.is_to_rest and run.stopping is None and not (isinstance(last, Finished) and last.failed):
            return "resting"
        if isinstance(last, Preempted) and run.stopping is not None:
            last = Finished(run.stopping.reason, run.stopping.keep)
        if isinstance(last, Preempted):
            run.tries += 1
            run.break_words = last.reason
            if run.tries <= TRIES:
                return "waiting"
            words = f"{last.reason} It was tried {run.tries} times; please press Start again."
            last = Finished(words, failed=True)
        assert isinstance(last, Finished)
        return self._end(run, last)

    def _end(self, run: Run, last: Finished) -> State:
        take = session_file = None
        reason = last.reason
        if last.keep:
            take, session_file, trouble = run.files()
            reason = f"{reason} {trouble}".strip()
            if trouble:
                self._note_failure(run, "disk", trouble)
        run.finish()
        run.say(RunFinished(reason, take, session_file, last.failed))
        if last.failed:
            self._note_failure(run, last.failure, last.reason)
        word = _end_word(run, last)
        self._metrics.ended(word)
        run.journal.ended(word, run.end_s, reason)
        run.stopping = run.stopping or Stop(reason, last.keep)
        return "ended"


def _end_word(run: Run, last: Finished) -> EndWord:
    """Why a story ended, in one of the words that are counted."""
    if last.failed:
        return "failed"
    if not last.keep:
        return "left"
    if run.stopping is None:
        return "complete"
    return "limit" if run.is_over_limit else "stopped"
