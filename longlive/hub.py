"""Model name -> folder: known names, folders on this machine, repositories on the Hugging Face Hub."""

import difflib
import re
from pathlib import Path

from longlive.errors import CheckpointError

ASSETS = Path(__file__).resolve().parent.parent / "assets"
KNOWN_MODELS: dict[str, Path | None] = {
    "storybook": ASSETS / "storybook",
    "longlive-1.3b": None,
}
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FILES = ("longlive.json", "model_index.json", "*/*.json", "*/*.safetensors")


def find_model(name: str | Path) -> Path:
    """The folder of a model: one of ``KNOWN_MODELS``, a folder in our layout, or a downloaded Hub repository.

    Raises:
        CheckpointError: when there is no such model, or the Hub does not hand it out; says what to do.
    """
    name = str(name)
    if name in KNOWN_MODELS:
        return _known(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if HUB_ID.fullmatch(name) and not folder.exists():
        return download(name)
    near = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise CheckpointError(
        f"There is no model {name!r}. {hint}Known models: {', '.join(KNOWN_MODELS)}; "
        "a folder in diffusers' layout with a longlive.json, or a Hub id such as 'owner/name', will do too."
    )


def _known(name: str) -> Path:
    folder = KNOWN_MODELS[name]
    if folder is None:
        raise CheckpointError(
            f"The model {name!r} cannot be loaded by this version: assembling it from its published files "
            "comes with a later release. Use 'storybook', or a folder that is already in our layout."
        )
    if not folder.is_dir():
        raise CheckpointError(
            f"The folder of the model {name!r}, {folder}, is missing. Restore it from the repository "
            "(git checkout -- assets), or train it: python -m longlive train storybook."
        )
    return folder


def download(repository: str) -> Path:
    """The folder of a Hub repository in the local cache, fetched when it is not there yet."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=list(FILES)))
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"The Hub does not hand out {repository!r} yet: its owner asks you to accept terms first. "
            f"Do so at https://huggingface.co/{repository}, then log in (hf auth login)."
        ) from error
    except errors.RepositoryNotFoundError as error:
        reason = "it does not exist, or is private. Check the name, or log in (hf auth login)"
        raise CheckpointError(f"The Hub does not know {repository!r}: {reason}.") from error
    except errors.HFValidationError as error:
        raise CheckpointError(f"{repository!r} is not a Hub id. A Hub id looks like 'owner/name'.") from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"The model {repository!r} is not in the local cache, and the Hub cannot be reached. "
            "Check the network and HF_HUB_OFFLINE, or give a folder."
        ) from error
    except OSError as error:
        # huggingface_hub's network errors, full disks and refused connections are all OSErrors.
        raise CheckpointError(
            f"The model {repository!r} cannot be fetched: {error}. Try again later."
        ) from error
