"""What of an audience lies in its run's folder, so that its link leads on after a restart of the app."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

NAME = "audience.json"


@dataclass(frozen=True)
class KeptAudience:
    """What is written; attributes as in ``Audience``."""

    id: str
    takes_proposals: bool = False
    is_listed: bool = False


def write_audience(folder: Path, audience: KeptAudience) -> None:
    """Write it into a run's folder; on a full disk, the link ends with this process."""
    try:
        (folder / NAME).write_text(json.dumps(asdict(audience)), encoding="utf-8")
    except OSError as error:
        logger.warning("a link to watch along will not survive a restart: %s", error.strerror)


def read_audience(folder: Path) -> KeptAudience | None:
    """The one that was written; None without one that can be read."""
    try:
        kept = KeptAudience(**json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return kept if isinstance(kept.id, str) and kept.id else None


def forget_audience(folder: Path) -> None:
    """Remove it, if there is one."""
    (folder / NAME).unlink(missing_ok=True)
