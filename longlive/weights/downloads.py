"""Files of Hub repositories -> the Hub's own cache on this machine: sizes first, then the whole files.

``snapshot_download`` keeps nothing of a file that was cut off. Large files are therefore fetched here, so
that they resume where they stopped, and put into the Hub's cache, where every program finds them.
"""

import errno
import hashlib
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from longlive.errors import CheckpointError, LongLiveError

logger = logging.getLogger(__name__)

LARGE = 64 * 2**20
READ = 8 * 2**20
SHA256 = re.compile(r"[0-9a-f]{64}")
GIT_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFiles:
    """Files of one Hub repository.

    Attributes:
        repository: its id, ``owner/name``.
        revision: a commit, or a branch such as ``main``.
        files: what must be there, by path.
        optional: what is fetched if the repository has it.
    """

    repository: str
    revision: str
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def patterns(self) -> list[str]:
        """What to ask ``snapshot_download`` for."""
        return [*self.files, *self.optional]


@dataclass(frozen=True)
class MissingFile:
    """A file that is not in the Hub's cache yet.

    Attributes:
        source: where it comes from.
        name: its path in the repository.
        size: in bytes.
    """

    source: HubFiles
    name: str
    size: int


def local_files(source: HubFiles) -> dict[str, Path]:
    """The files of ``source`` that lie in the Hub's cache, by their names; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    found = {
        name: try_to_load_from_cache(source.repository, name, revision=source.revision)
        for name in source.patterns
    }
    return {name: Path(path) for name, path in found.items() if isinstance(path, str)}


def missing_files(sources: Sequence[HubFiles]) -> list[MissingFile]:
    """What is still to be fetched; asks the Hub only about sources of which a file is missing.

    Raises:
        CheckpointError: when the Hub cannot be asked, or a repository lacks a file; says what to do.
    """
    from huggingface_hub import snapshot_download

    missing = []
    for source in sources:
        if _is_here(source):
            continue
        with hub_errors(source.repository):
            asked: Any = snapshot_download(
                source.repository,
                revision=source.revision,
                allow_patterns=source.patterns,
                dry_run=True,
                tqdm_class=_Silent,
            )
        _check_whole(source, {file.filename for file in asked})
        missing += [MissingFile(source, f.filename, f.file_size or 0) for f in asked if f.will_download]
    return missing


def fetch(source: HubFiles, missing: Sequence[MissingFile] | None = None) -> dict[str, Path]:
    """The files of ``source`` in the Hub's cache, fetched where they are missing.

    Args:
        source: which files.
        missing: what ``missing_files`` found, files of other sources among them; None asks the Hub.

    Raises:
        CheckpointError: when the Hub does not hand a file out or lacks it, or the disk is full; and the cure.
    """
    from huggingface_hub import snapshot_download

    if not _is_here(source):
        missing = missing_files([source]) if missing is None else missing
        with hub_errors(source.repository):
            for file in missing:
                if file.source == source and file.size >= LARGE:
                    _fetch_large(source, file.name)
            snapshot_download(source.repository, revision=source.revision, allow_patterns=source.patterns)
    files = local_files(source)
    _check_whole(source, set(files))
    return files


def free_disk_bytes(folder: Path) -> int:
    """Free space on the disk of ``folder``, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(needed: int, folder: Path) -> None:
    """Raise CheckpointError when the disk of ``folder`` has less than ``needed`` bytes free."""
    free = free_disk_bytes(folder)
    if free < needed:
        raise CheckpointError(
            f"{gigabytes(needed)} are needed in {folder}, but only {gigabytes(free)} are free there. Make "
            "room, or set HF_HOME to a folder on a larger disk."
        )


def gigabytes(number: int) -> str:
    """A number of bytes for people to read, such as ``5.68 GB``."""
    return f"{number / 1e9:.2f} GB" if number >= 1e7 else f"{number / 1e6:.2f} MB"


def verified_digest(path: Path) -> str:
    """SHA-256 of a file in hex; a file of the Hub's cache must have the digest that it was published with.

    Raises:
        CheckpointError: when it has another, or cannot be read.
    """
    published = path.resolve().name
    git = hashlib.sha1(usedforsecurity=False)
    digest = hashlib.sha256()
    try:
        git.update(f"blob {path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while piece := file.read(READ):
                digest.update(piece)
                git.update(piece) if GIT_SHA1.fullmatch(published) else None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Fetch the model again.") from error
    found = digest.hexdigest() if SHA256.fullmatch(published) else git.hexdigest()
    if (SHA256.fullmatch(published) or GIT_SHA1.fullmatch(published)) and found != published:
        raise CheckpointError(
            f"{path} is not what was published: its digest is {found[:12]}…, but {published[:12]}… is "
            f"expected. Delete {path.resolve()} and fetch the model again."
        )
    return digest.hexdigest()


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn whatever the Hub's library raises into a CheckpointError that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"The Hub does not hand out {repository!r} yet: its owner asks you to accept terms first. "
            f"Do so at https://huggingface.co/{repository}, then log in (hf auth login)."
        ) from error
    except errors.RepositoryNotFoundError as error:
        reason = "it does not exist, or is private. Check the name, or log in (hf auth login)"
        raise CheckpointError(f"The Hub does not know {repository!r}: {reason}.") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"The repository {repository!r} no longer has the revision that this version asks for. Update "
            "LongLive, or fetch the file yourself and give it with --checkpoint."
        ) from error
    except errors.HFValidationError as error:
        raise CheckpointError(f"{repository!r} is not a Hub id. A Hub id looks like 'owner/name'.") from error
    except (errors.LocalEntryNotFoundError, errors.DryRunError, errors.OfflineModeIsEnabled) as error:
        if isinstance(error.__cause__, errors.GatedRepoError | errors.RepositoryNotFoundError):
            with hub_errors(repository):
                raise error.__cause__ from error
        raise CheckpointError(
            f"The model {repository!r} is not in the local cache as a whole, and the Hub cannot be reached. "
            "Check the network and HF_HUB_OFFLINE, or give a folder."
        ) from error
    except (ImportError, ValueError) as error:
        if isinstance(error, LongLiveError) or "proxy" not in str(error).lower():
            raise
        raise CheckpointError(
            f"The model {repository!r} cannot be fetched through the proxy that the environment names: its "
            "kind is not supported. Set https_proxy to one of http:// or https://, or for socks5:// run pip "
            "install socksio."
        ) from error
    except (OSError, errors.HTTPError) as error:  # of httpx2, or of httpx before version 2
        # huggingface_hub's own errors, full disks and refused connections are OSErrors.
        is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        cure = "Make room, or set HF_HOME to a larger disk" if is_full else "Try again"
        raise CheckpointError(
            f"The model {repository!r} cannot be fetched: {error}. {cure}; what has come is kept."
        ) from error


def _is_here(source: HubFiles) -> bool:
    return set(source.files) <= set(local_files(source))


class _Silent(tqdm):
    """A progress bar that shows nothing, for what takes no time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"disable": True}))


def _check_whole(source: HubFiles, names: set[str]) -> None:
    lacking = sorted(set(source.files) - names)
    if lacking:
        raise CheckpointError(
            f"The repository {source.repository!r} lacks {', '.join(lacking)} at revision "
            f"{source.revision[:12]}. It has changed: update LongLive, or give the file with --checkpoint."
        )


def _fetch_large(source: HubFiles, name: str) -> None:
    """Put a large file into the Hub's cache, resuming where an earlier try stopped."""
    from huggingface_hub import constants, file_download

    url = file_download.hf_hub_url(source.repository, name, revision=source.revision)
    facts = file_download.get_hf_file_metadata(url)
    if facts.etag is None or facts.size is None:
        return  # snapshot_download fetches it instead
    repository = file_download.repo_folder_name(repo_id=source.repository, repo_type="model")
    # Not an atomic_write: what has come stays for the next try.
    blob = Path(constants.HF_HUB_CACHE, repository, "blobs", facts.etag)
    partial = blob.with_name(f"{facts.etag}.longlive")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab") as file:
        begun = file.tell()
        if begun < facts.size:
            logger.info("resuming %s at %s of %s", name, gigabytes(begun), gigabytes(facts.size))
            headers = file_download.build_hf_headers()
            file_download.http_get(url, file, resume_size=begun, headers=headers, expected_size=facts.size)
    partial.replace(blob)
