"""Where films and session files are served from: a folder into which nobody else on the machine may look."""

import os
import secrets
import shutil
from pathlib import Path

from gradio.utils import get_upload_folder

from longlive.errors import MediaError

FOLDER = "shown"


def serve_from(folder: Path) -> None:
    """Serve what is shown from a folder in ``folder``, emptied first; before the page is built.

    Otherwise Gradio would put copies into one that all its apps and users on the machine share, and refuse to
    take them from outside of the working and the temporary folder.
    """
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(place.resolve())


def shown(path: Path | None) -> str | None:
    """A file under a name that nobody can guess, in the folder that is served from; Gradio cleans it up.

    It stays there when the story is forgotten, so that whoever still has the page open can have it.

    Raises:
        MediaError: if it cannot be put there (a full disk).
    """
    if path is None:
        return None
    place = Path(get_upload_folder()) / secrets.token_hex(32) / path.name
    try:
        place.parent.mkdir(parents=True, mode=0o700)
        _put(path, place)
    except OSError as error:
        raise MediaError(f"{path.name} was made, but cannot be shown here: {error.strerror}.") from error
    return str(place)


def _put(path: Path, place: Path) -> None:
    try:
        place.hardlink_to(path)
    except OSError:  # on another disk
        shutil.copy2(path, place)
