"""Writing files so that a reader finds either the old file or the whole new one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class PartialFile:
    """A file that is written beside its destination and moved there once it is whole.

    Use ``atomic_write`` where one block of code writes the whole file.

    Attributes:
        path: the destination.
        part: where to write; on the same disk, so that the move is one step.
    """

    def __init__(self, path: str | Path, *, suffix: str = ".part") -> None:
        """Name the file beside ``path``; nothing is opened."""
        self.path = Path(path)
        self.part = self.path.with_name(f"{self.path.name}{suffix}")

    def commit(self) -> None:
        """Replace ``path`` by what was written; OSError if that fails."""
        os.replace(self.part, self.path)

    def discard(self) -> None:
        """Remove what was written, if anything was; never fails."""
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: str | Path, *, suffix: str = ".part") -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and move it there when the block ends without an error.

    After an error nothing is left beside ``path``, and what was at ``path`` is still there.

    Args:
        path: the destination; its folder must exist.
        suffix: added to its name for the file that is written; writers that may run at the same time for the
            same destination need different ones.
    """
    file = PartialFile(path, suffix=suffix)
    try:
        yield file.part
        file.commit()
    except BaseException:
        file.discard()
        raise
