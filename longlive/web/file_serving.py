"""The folder from which videos and session files are served; no other user of the machine can read it."""

import os
import secrets
import shutil
from pathlib import Path

from gradio.utils import get_upload_folder

from longlive.errors import MediaError

FOLDER = "shown"


def serve_from(folder: Path) -> None:
    """Serve published files from a folder in ``folder``, emptied first; call it before the page is built.

    Gradio's default is one folder for all its apps and users on the machine, and it refuses files from
    outside of the working and the temporary folder.
    """
    remove_served(folder)
    place = folder / FOLDER
    place.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(place.resolve())


def remove_served(folder: Path) -> None:
    """Remove the published files in ``folder``, when nothing serves them any more."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def publish_file(path: Path | None) -> str | None:
    """Put a file into the served folder under a name that nobody can guess; Gradio deletes it after an hour.

    It outlives its run, so that whoever still has the page open can download it.

    Args:
        path: of a video or session file; None gives None.

    Raises:
        MediaError: if it cannot be put there, for example because the disk is full.
    """
    if path is None:
        return None
    place = Path(get_upload_folder()) / secrets.token_hex(32) / path.name
    try:
        place.parent.mkdir(parents=True, mode=0o700)
        _link_or_copy(path, place)
    except OSError as error:
        raise MediaError(
            f"{path.name} was made, but cannot be offered for download: {error.strerror}."
        ) from error
    return str(place)


def _link_or_copy(path: Path, place: Path) -> None:
    try:
        place.hardlink_to(path)
    except OSError:  # on another disk
        shutil.copy2(path, place)
