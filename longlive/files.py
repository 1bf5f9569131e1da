"""Reading text files as people save them, and writing files that are never seen half written.

Every destination goes through ``PartialFile``: a link is followed, a pipe or device is written into, and a
regular file is replaced in one step.
"""

import codecs
import contextlib
import errno
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from longlive.errors import ConfigError, reason_of

MAX_SLUG_BYTES = 64
_RESERVE = 16
"""Characters that a writer may add to a name: a number, and the longest suffix of a part."""
_LINE_END = re.compile(rb"\r\n|\r|\n")
# Pipes that were opened when they were checked: closing one would tell its reader that the file ends.
_open_pipes: dict[str, int] = {}
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class PartialFile:
    """A file that is written beside its destination and moved there once it is whole.

    Use ``atomic_write`` where one block of code writes the whole file.

    Attributes:
        path: the destination. A link stays one: its target is replaced. Into a pipe or a device, the whole
            file is copied at the end.
        part: where to write; on the same disk, so that the move is one step; for a pipe or a device, in the
            temporary folder.
    """

    def __init__(self, path: str | Path, *, suffix: str = ".part") -> None:
        """Name the file beside ``path``; nothing is opened."""
        self.path = Path(path)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if is_special(self.path):
            self._folder = tempfile.TemporaryDirectory(prefix="longlive-")
            self.part = Path(self._folder.name, f"{self.path.name}{suffix}")
        else:
            self._target = Path(os.path.realpath(self.path))
            self.part = self._target.with_name(f"{self._target.name}{suffix}")

    def commit(self) -> None:
        """Replace ``path`` by what was written, or write it into a pipe or device; OSError if that fails."""
        if self._folder is None:
            os.replace(self.part, self._target)
            return
        pipe = _open_pipes.pop(os.path.realpath(self.path), None)
        with self.part.open("rb") as source, open(self.path if pipe is None else pipe, "wb") as sink:
            shutil.copyfileobj(source, sink)
        self._folder.cleanup()

    def discard(self) -> None:
        """Remove what was written, if anything was; never fails."""
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)
            if self._folder is not None:
                self._folder.cleanup()


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


def is_special(path: Path) -> bool:
    """Whether a path is a pipe, a device or a socket, or a name of an open file, such as /dev/stdout."""
    return (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)) or path.parent in (
        Path("/dev"),
        Path("/dev/fd"),
        Path("/proc/self/fd"),
    )


def is_stdout(path: Path) -> bool:
    """Whether what is written into a path comes out of this process's stdout, as for /dev/stdout."""
    try:
        return is_special(path) and os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def check_destination(option: str, path: Path) -> None:
    """Check that a file can be written at ``path``; nothing is left there, and nothing is changed.

    Args:
        option: by which the path was given, for the message.
        path: of a file that may exist, a link, a pipe or a device.

    Raises:
        ConfigError: if it is a folder, its folder does not exist, or it cannot be written there.
    """
    cure = "Give the name of a file in a folder that exists."
    try:
        if path.is_dir():
            raise ConfigError(option, str(path), "it is a folder, and a file is to be written", cure)
        if is_special(path):
            _check_special(option, path)
            return
        if os.path.islink(os.path.realpath(path)):
            raise OSError("it is a link that leads back to itself")
        # A writer's own .part is left alone; a name that leaves no room for it is found here.
        file = PartialFile(path, suffix=f".{os.getpid()}".ljust(_RESERVE, "_"))
        if not file.part.parent.is_dir():
            raise ConfigError(option, str(path), f"there is no folder {path.parent}", "Make it first.")
        try:
            file.part.touch()
        finally:
            file.discard()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(option, str(path), f"it cannot be written ({reason_of(error)})", cure) from error


def check_folder(option: str, path: Path, *, replaces: bool = False) -> None:
    """Check that a new folder can be made at ``path``, with those above it; ConfigError if it cannot.

    An empty folder may be there, or with ``replaces`` one of files that are to be replaced. Nothing is made.
    """
    if not replaces and path.is_dir() and any(path.iterdir()):
        rule = "this folder holds files, which are kept"
        raise ConfigError(option, str(path), rule, "Give another name, or remove it first.")
    above = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if not above.is_dir() or not os.access(above, os.W_OK):
        rule = f"no folder can be made there, since {above} is {'read-only' if above.is_dir() else 'a file'}"
        raise ConfigError(option, str(path), rule, "Give another place.")


def _check_special(option: str, path: Path) -> None:
    if not path.is_fifo():
        if not os.access(path, os.W_OK):
            raise PermissionError("it may not be written")
        return
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise ConfigError(option, str(path), "nothing reads this pipe", "Start its reader first.") from error
    os.set_blocking(pipe, True)
    _open_pipes[os.path.realpath(path)] = pipe


def check_distinct(paths: dict[str, Path | None]) -> None:
    """Check that no two options name the same file, by whatever links; ConfigError names both options."""
    seen: dict[str, str] = {}
    for option, path in paths.items():
        if path is None or (is_special(path) and not path.is_fifo()):
            continue
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            rule = f"{other} is the same file, and one would replace the other"
            raise ConfigError(option, str(path), rule, "Give another name.")


def unused_name(path: Path) -> Path:
    """The path itself if nothing is there; otherwise the first free one of ``name-2``, ``name-3``, …

    A pipe, a device or a folder is returned as it is.
    """
    if not path.is_file():
        return path
    number = 2
    while os.path.lexists(numbered := path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    return numbered


def name_of_video(prompt: str, seed: int) -> str:
    """The name of a video's files, without a suffix, such as ``longlive-a-red-ball-on-snow-seed7``.

    Of the prompt it has the first whole words, in any script; letters, marks and digits alone, at most
    ``MAX_SLUG_BYTES`` as UTF-8. So it is safe in a path, a URL and a shell, and fits every file system.
    """
    text = unicodedata.normalize("NFC", prompt.lower())
    words = "".join(one if unicodedata.category(one)[0] in "LMN" else " " for one in text).split()
    slug = words[0].encode()[:MAX_SLUG_BYTES].decode(errors="ignore") if words else ""
    for word in words[1:]:
        if len(f"{slug}-{word}".encode()) > MAX_SLUG_BYTES:
            break
        slug = f"{slug}-{word}"
    return "-".join(filter(None, ("longlive", slug, f"seed{seed}")))


def has_suffix(path: str | Path, *suffixes: str) -> bool:
    """Whether a name ends in one of ``suffixes`` (in small letters, with their dots), in any case."""
    return Path(path).suffix.lower() in suffixes


def read_utf8(path: str | Path) -> bytes:
    """The bytes of a text file in UTF-8 without a byte order mark; UTF-16 with its mark is converted.

    Raises:
        OSError: if it cannot be read.
        UnicodeDecodeError: if it begins as UTF-16 does and is not; UTF-8 is not checked here.
    """
    return utf8_of(Path(path).read_bytes())


def utf8_of(data: bytes) -> bytes:
    """The bytes of a text file as ``read_utf8`` gives them; UnicodeDecodeError as there."""
    for mark, encoding in _UTF16.items():
        if data.startswith(mark):
            return data.removeprefix(mark).decode(encoding).encode()
    return data.removeprefix(codecs.BOM_UTF8)


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8 (or UTF-16 with its mark), with line ends as in Python.

    Raises:
        OSError: if it cannot be read.
        UnicodeDecodeError: a ValueError, if it is in another encoding.
    """
    return _LINE_END.sub(b"\n", read_utf8(path)).decode()


def read_lines(path: str | Path) -> list[bytes]:
    """The lines of a text file as UTF-8, without their ends, which are LF, CR LF or CR.

    Other separators that Unicode knows, such as U+2028, are part of a line, as JSON has it. Errors as for
    ``read_utf8``.
    """
    lines = _LINE_END.split(read_utf8(path))
    return lines if lines[-1] else lines[:-1]
