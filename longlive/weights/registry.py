"""Model name -> folder: known names, folders on this machine, repositories on the Hugging Face Hub."""

import difflib
import re
from pathlib import Path

from longlive.errors import CheckpointError
from longlive.weights.assembly import assemble
from longlive.weights.downloads import hub_errors
from longlive.weights.released import RECIPES

ASSETS = Path(__file__).resolve().parents[2] / "assets"
EMBEDDED = {"storybook": ASSETS / "storybook"}
KNOWN_MODELS = (*EMBEDDED, *RECIPES)
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FILES = ("longlive.json", "model_index.json", "*/*.json", "*/*.safetensors")


def find_model(name: str | Path) -> Path:
    """The folder of a model: one of ``KNOWN_MODELS``, a folder in our layout, or a downloaded Hub repository.

    Raises:
        CheckpointError: when there is no such model, or the Hub does not hand it out; says what to do.
    """
    name = str(name)
    if name in RECIPES:
        return assemble(RECIPES[name])
    if name in EMBEDDED:
        return _embedded(name)
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


def _embedded(name: str) -> Path:
    folder = EMBEDDED[name]
    if not folder.is_dir():
        raise CheckpointError(
            f"The folder of the model {name!r}, {folder}, is missing. Restore it from the repository "
            "(git checkout -- assets), or train it: python -m longlive train storybook."
        )
    return folder


def download(repository: str) -> Path:
    """The folder of a Hub repository in the local cache, fetched when it is not there yet."""
    import huggingface_hub

    with hub_errors(repository):
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=list(FILES)))
