"""The runs that an engine keeps, by key, viewer and token."""

import logging
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from longlive.config import ModelConfig
from longlive.errors import BusyError, reason_of
from longlive.serving.limits import Limits
from longlive.serving.observer import Observer
from longlive.serving.runs.creation import key_of, load_run
from longlive.serving.runs.run import Run
from longlive.serving.runs.store.store_folder import is_stale, stored_runs
from longlive.serving.scheduler import RunStatus

logger = logging.getLogger(__name__)


class RunRegistry:
    """Runs by key. The engine writes, under its lock; any thread may read a moment's view."""

    def __init__(self) -> None:
        """No runs."""
        self._runs: dict[str, Run] = {}

    def __iter__(self) -> Iterator[Run]:
        """All runs, in the order in which they came."""
        return iter(list(self._runs.values()))

    def __contains__(self, run: Run) -> bool:
        """Whether a run is kept."""
        return run.key in self._runs

    def __getitem__(self, key: str) -> Run:
        """The run with a key; KeyError if there is none."""
        return self._runs[key]

    def add(self, run: Run) -> None:
        """Keep a run."""
        self._runs[run.key] = run

    def remove(self, run: Run) -> None:
        """Keep a run no longer."""
        del self._runs[run.key]

    def find(self, token: str) -> Run | None:
        """The run with this token."""
        key = key_of(token)
        return next((run for run in self if secrets.compare_digest(run.key, key)), None)

    def of_viewer(self, viewer: str) -> list[Run]:
        """The viewer's runs that were not told to stop."""
        return [run for run in self if run.viewer == viewer and not run.is_leaving]

    def takes_of(self, run: Run) -> list[Run]:
        """The finished runs of the same viewer, which are kept as long as the viewer watches this one."""
        finished = [other for other in self if other.status is RunStatus.FINISHED and other is not run]
        return [other for other in finished if other.viewer == run.viewer]

    def surplus_takes(self, run: Run, most: int) -> list[Run]:
        """The oldest takes of a run beyond so many; those from which it descends stay."""
        lineage, by_name = {run.name}, {one.name: one for one in self}
        one: Run | None = run
        while one is not None and (parent := one.store.facts.get("parent")):
            lineage.add(parent["run"])
            one = by_name.get(parent["run"])
        takes = sorted(self.takes_of(run), key=lambda take: take.lifecycle.arrived)
        return [take for take in takes if take.name not in lineage][: max(0, len(takes) - most)]

    def count(self, status: RunStatus) -> int:
        """How many runs have a status."""
        return sum(run.status is status for run in self)

    def queue_length(self) -> int:
        """How many runs wait for a slot."""
        return sum(run.status is RunStatus.WAITING and not run.is_leaving for run in self)

    def num_bytes(self) -> int:
        """What all runs take on disk."""
        return sum(run.store.num_bytes for run in self)

    def check_busy(self, address: str, previous: Sequence[Run], limits: Limits) -> None:
        """Raise BusyError if the queue is full, or the address has enough runs.

        Args:
            address: of the viewer who wants to start a run; empty if it is not known.
            previous: runs of that viewer, which will end and do not count.
            limits: of the new run.
        """
        active = (RunStatus.WAITING, RunStatus.RUNNING)
        others = [run for run in self if run.status in active and not run.is_leaving and run not in previous]
        num_waiting = sum(run.status is RunStatus.WAITING for run in others)
        if num_waiting >= limits.max_queue_size:
            raise BusyError(f"The queue is full ({num_waiting} wait). Please come back in a few minutes.")
        num_same = sum(run.address == address for run in others) if address else 0
        if num_same >= limits.max_runs_per_address:
            raise BusyError(
                f"{num_same} videos are being made for your address already; that is the limit. "
                "Please stop one of them first."
            )

    def load(
        self, folder: Path, models: Mapping[str, ModelConfig], limits: Limits, observer: Observer
    ) -> None:
        """Keep the runs that another engine left in a folder; those that are finished are removed.

        Args:
            folder: of the store.
            models: configs by name; of these, the first made the runs that do not say which model did.
            limits, observer: of the engine.

        A run of a model that is not here stays in the folder, for an engine that has it, for a day.
        """
        default = next(iter(models))
        for store in stored_runs(folder):
            model = models.get(str(store.facts.get("model", default)))
            if store.is_finished or (model is None and is_stale(store.folder)):
                shutil.rmtree(store.folder, ignore_errors=True)
                continue
            if model is None:
                name = store.facts["model"]
                logger.warning("%s holds a run of the model %s, which is not served", store.folder.name, name)
                continue
            try:
                self.add(load_run(store, model, limits, observer))
            except (KeyError, TypeError, ValueError) as error:
                logger.warning("%s holds no run that can be read: %s", store.folder.name, reason_of(error))
        if self._runs:
            logger.info("found %d suspended runs", len(self._runs))
