"""Every error that LongLive raises on purpose, in one tree.

* LongLiveError
  * ConfigError        a field of a checkpoint or of a run has an impossible value
  * PromptError        a prompt is empty, too long or not text
  * CheckpointError    a model name, folder, file or key is missing, unexpected or broken
  * SessionFileError   a session file cannot be read, or belongs to another model or version
  * SessionClosedError a session was asked for more after it had been closed
  * MediaError         pictures could not be read, encoded or written, for example to a full disk
  * EndpointError      a language model's endpoint cannot be reached, or refuses
  * FitError           a model does not fit into the memory that is free
  * BusyError          too many viewers wait for the model
  * LostError          the worker of a run is gone
  * MailboxError       a message to a run cannot be written or read
  * TrainingError      a loss or gradient in training is not a number

Each message says what came, what was expected, and what to do about it.
"""

import re


class LongLiveError(Exception):
    """Base of all errors that LongLive raises on purpose."""


class ConfigError(LongLiveError, ValueError):
    """A field of a checkpoint or of a run has an impossible value."""

    def __init__(self, field: str, value: object, rule: str, cure: str) -> None:
        """Name the field, the value that came, the rule that it breaks and the cure."""
        super().__init__(f"{field} is {value!r}, but {rule}. {cure}")
        self.field = field


class PromptError(LongLiveError, ValueError):
    """A prompt is empty, too long or not text."""


class CheckpointError(LongLiveError):
    """A model name, folder, file or key is missing, unexpected or broken."""


class SessionFileError(LongLiveError):
    """A session file cannot be read, or belongs to another model or version."""


class SessionClosedError(LongLiveError):
    """A session was asked for more after it had been closed."""


class MediaError(LongLiveError):
    """Pictures could not be read, encoded or written."""


class EndpointError(LongLiveError):
    """A language model's endpoint cannot be reached, or refuses."""


class FitError(LongLiveError):
    """A model does not fit into the memory that is free."""


class BusyError(LongLiveError):
    """Too many viewers wait for the model."""


class LostError(LongLiveError):
    """The worker of a run is gone; another one can resume the run."""


class MailboxError(LongLiveError):
    """A message to a run cannot be written or read."""


class TrainingError(LongLiveError):
    """A loss or gradient in training is not a number."""


def reason_of(error: Exception) -> str:
    """An error of Python's own in plain words, for the middle of a message; no class name, no quotes."""
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing" if error.args else "something is missing"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and hasattr(error, "lineno"):
        return f"it is not valid: {str(error)[:1].lower()}{str(error)[1:]}"
    if names := re.search(r"(missing|unexpected) .*argument[^']*('.*')", str(error)):
        return f"{names[2]} is {'missing' if names[1] == 'missing' else 'unknown'}"
    if isinstance(error, TypeError | AttributeError):
        return "a value is of the wrong kind"
    return str(error) or "it is not as expected"
