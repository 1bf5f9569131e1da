"""The models that an engine serves, each by an executor of its own; a run is made with one of them.

models = open_models(["storybook", "longlive-1.3b"], RuntimeOptions(), print_progress)
engine = Engine(models)

All are loaded at the start if they fit into the memory together. Otherwise they take turns in it: a model is
loaded when a run of it begins, which waits until no run of another one is made.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from longlive.errors import ConfigError, LongLiveError
from longlive.models.bundle import ModelBundle
from longlive.runtime.startup import ProgressCallback, RuntimeOptions, plan_for, share_memory, start
from longlive.serving.capacity import Capacity
from longlive.serving.executors.executor import Executor
from longlive.serving.executors.model_runner import DeadlineLock, ModelRunner
from longlive.serving.executors.thread import MemorySlot, OnDemandExecutor, ThreadExecutor
from longlive.weights.layout import ModelFolder
from longlive.weights.registry import resolve

Result = TypeVar("Result")


class ServedModels(Mapping[str, Executor]):
    """Executors by the name of their model; the first is used where no model is named."""

    def __init__(self, executors: Iterable[Executor], *, is_exclusive: bool = False) -> None:
        """Serve the models of ``executors``; ``is_exclusive`` as in Capacity.

        Raises:
            ConfigError: if two models have the same name.
        """
        executors = list(executors)
        _check_names([executor.config.name for executor in executors])
        self._executors = {executor.config.name: executor for executor in executors}
        self._is_exclusive = is_exclusive

    def __getitem__(self, name: str) -> Executor:
        """The executor of a model; KeyError if it is not served."""
        return self._executors[name]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which they were given."""
        return iter(self._executors)

    def __len__(self) -> int:
        """How many models there are."""
        return len(self._executors)

    @property
    def default(self) -> Executor:
        """The executor of the first model."""
        return next(iter(self._executors.values()))

    def find(self, name: str | None) -> Executor:
        """The executor of a model, of the first one for None or an empty name; ConfigError if unknown."""
        if not name:
            return self.default
        if name not in self:
            rule = f"the models here are {', '.join(self)}"
            raise ConfigError("model", name, rule, "Choose one of them.")
        return self[name]

    def of_record(self, name: str, digest: str) -> Executor:
        """The executor of the model of a session file or share link; of the first one if it is not served.

        Args:
            name: of the model, as recorded.
            digest: of its weights, or the first digits of that.
        """
        for executor in self._executors.values():
            if digest and str(executor.describe().get("model_digest", "")).startswith(digest):
                return executor
        return self.get(name, self.default)

    def capacity(self) -> Capacity:
        """How many runs of each can be made at once."""
        slots = {name: executor.capacity() for name, executor in self._executors.items()}
        return Capacity(slots, is_exclusive=self._is_exclusive)

    def warm_up(self) -> None:
        """Let all do their one-off work; models that take turns do it when they are loaded."""
        for executor in self._executors.values():
            executor.warm_up()

    def close(self) -> None:
        """Free everything; all streams have ended before."""
        for executor in self._executors.values():
            executor.close()


def open_models(
    names: Sequence[str], options: RuntimeOptions, progress: ProgressCallback, *, free: int | None = None
) -> ServedModels:
    """Serve several models in threads of this process; at least the first of them is loaded and warm.

    A model that cannot be found or loaded is named with the reason, and the others are served.

    Args:
        names: of the models, as for ``load_models``.
        options: how each is run.
        progress: gets a line for each thing that takes time.
        free: bytes of memory to plan with; None measures them.

    Raises:
        ConfigError: if two models have the same name.
        LongLiveError: of the first model, if none can be served.
    """

    def find(name: str) -> ModelFolder:
        plan_for(name, options, free)
        return resolve(name)

    folders = _successes(names, find, progress)
    _check_names([folder.config.name for folder in folders.values()])
    lock = DeadlineLock()  # one for all: whoever would run dry first gets the device, whatever their model

    def load(name: str, share: int | None = free) -> ModelRunner:
        def warm(models: ModelBundle) -> ModelRunner:
            runner = ModelRunner(models, lock=lock)
            ThreadExecutor(runner).warm_up()
            return runner

        return start(name, options, progress, prepare=warm, free=share)

    shares = share_memory(list(folders), options, free)
    if shares is not None:
        progress(f"{', '.join(folders)} fit into the memory together, each into its share")
        runners = _successes(folders, lambda name: load(name, shares[name]), progress)
        return ServedModels(map(ThreadExecutor, runners.values()))
    progress(f"{', '.join(folders)} do not fit into the memory together: one at a time is loaded")
    slot = MemorySlot()
    executors = [
        OnDemandExecutor(one.config, one.card, partial(load, name), slot) for name, one in folders.items()
    ]
    while True:
        try:
            executors[0].load()
            return ServedModels(executors, is_exclusive=True)
        except LongLiveError as error:
            if len(executors) == 1:
                raise
            progress(f"{executors.pop(0).config.name} is not served: {error}")


def _successes(
    names: Iterable[str], attempt: Callable[[str], Result], progress: ProgressCallback
) -> dict[str, Result]:
    """What ``attempt`` makes of each model; those that fail are named. The first error if all do."""
    made: dict[str, Result] = {}
    errors: list[LongLiveError] = []
    for name in names:
        try:
            made[name] = attempt(name)
        except LongLiveError as error:
            errors.append(error)
            progress(f"{name} is not served: {error}")
    if not made:
        raise errors[0]
    return made


def _check_names(names: Sequence[str]) -> None:
    """ConfigError if two models have the same name."""
    for name in names:
        if names.count(name) > 1:
            rule = "several models have this name, and runs are known by it"
            cure = "Give each of them once, or rename one in its longlive.json."
            raise ConfigError("model", name, rule, cure)
