"""Makes a run by one stream of an executor after another, until it is suspended, waits, or is over."""

import logging
import time

from longlive.config import ResumeMode
from longlive.errors import LongLiveError, LostError
from longlive.serving.codes import NoticeCode
from longlive.serving.executors.events import Failure, Finished, NoticeEvent, Preempted, SegmentEvent
from longlive.serving.metrics import ResumeKind
from longlive.serving.observer import Ended, Resumed
from longlive.serving.runs.events import RunFinished
from longlive.serving.runs.lifecycle import BRANCHED
from longlive.serving.runs.run import Run
from longlive.serving.runs.store.video_files import write_files
from longlive.serving.scheduler import RunStatus, status_after
from longlive.serving.served_models import ServedModels

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
MAX_EXACT_CHUNKS = 160
"""A longer video is resumed quickly, unless the operator has chosen otherwise."""


_RESUMED: dict[bool, dict[ResumeKind, NoticeCode]] = {
    False: {"exact": "resumed_exact", "quick": "resumed_quick"},
    True: {"exact": "branched_exact", "quick": "branched_quick"},
}


class RunSupervisor:
    """What the thread of a run does; all runs share one supervisor."""

    def __init__(self, models: ServedModels, resume: ResumeMode) -> None:
        """Have runs made by the executors of their models.

        Args:
            models: these executors.
            resume: how a run goes on after an interruption; ``auto``: exactly, unless it is long or that
                fails.
        """
        self._models, self._resume = models, resume

    def make(self, run: Run) -> RunStatus:
        """Make a run by one stream; returns its next status. Errors finish it."""
        stop = run.lifecycle.stop
        try:
            last = self._stream(run) if stop is None else Finished(stop.reason)
        except LostError as error:
            last = Preempted("worker_lost", str(error))
            run.record(Failure("worker_lost", str(error), run.num_chunks))
        except LongLiveError as error:
            last = Finished("failed", Failure("model", str(error), run.num_chunks))
        except Exception as error:
            logger.exception("run %s failed at chunk %d", run.name, run.num_chunks)
            last = Finished("failed", Failure("model", type(error).__name__, run.num_chunks))
        finally:
            run.detach()
        run.lifecycle.running_s += time.monotonic() - run.lifecycle.changed
        try:
            return self._next_status(run, last)
        except Exception as error:
            logger.exception("run %s could not be finished", run.name)
            _finish(run, Finished("failed", Failure("disk", type(error).__name__)), writes_files=False)
            return RunStatus.FINISHED

    def _stream(self, run: Run) -> Finished | Preempted:
        life = run.lifecycle
        life.admitted = life.admitted or time.monotonic()
        exact = self._is_exact(run)
        job = run.build_job(exact=exact)
        if job.resume is not None:
            exactness: ResumeKind = "exact" if exact else "quick"
            run.emit(NoticeEvent(_RESUMED[life.interruption == BRANCHED][exactness]))
            run.record(Resumed(exactness, run.num_chunks, life.interruption))
        handle = self._models[run.model].start(job)
        run.attach(handle)
        for event in handle.events():
            if isinstance(event, SegmentEvent):
                run.add_segment(event)
                life.attempts = 0
            elif isinstance(event, NoticeEvent):
                if event.failure:
                    run.record(event.failure)
                run.emit(event)
            else:
                return event
        raise LostError("The worker ended without a last event.")

    def _is_exact(self, run: Run) -> bool:
        """Whether it is resumed exactly; the last attempt is a quick one."""
        if self._resume == "auto":
            return run.num_chunks <= MAX_EXACT_CHUNKS and run.lifecycle.attempts < MAX_ATTEMPTS
        return self._resume == "exact"

    def _next_status(self, run: Run, last: Finished | Preempted) -> RunStatus:
        life = run.lifecycle
        if isinstance(last, Preempted) and life.stop is not None:
            last = Finished(life.stop.reason)
        if isinstance(last, Preempted) and life.is_suspending:
            last = Preempted("suspended")
        if isinstance(last, Preempted) and last.reason != "suspended":
            life.attempts += 1
            life.interruption = last.detail or last.reason.replace("_", " ")
            if life.attempts > MAX_ATTEMPTS:
                detail = f"{life.interruption} (attempt {life.attempts})"
                last = Finished("failed", Failure("worker_lost", detail, run.num_chunks))
        if isinstance(last, Finished):
            _finish(run, last, writes_files=last.keeps_video)
        return status_after(last, is_stopping=life.stop is not None, has_returned=life.has_returned)


def _finish(run: Run, last: Finished, *, writes_files: bool) -> None:
    """Write the files that the run leaves, and its last event."""
    files = write_files(run.store) if writes_files else None
    run.write(lambda store: store.end())
    not_kept = files.errors if files else ()
    for failure in ([last.failure] if last.failure else []) + [Failure("disk", error) for error in not_kept]:
        run.record(failure)
    detail = " ".join([*([last.failure.detail] if last.failure else []), *not_kept])
    run.record(Ended(last.reason, run.end_s, detail))
    video, session_file = (files.video, files.session_file) if files else (None, None)
    run.emit(RunFinished(last.reason, last.failure, video, session_file, not_kept))
