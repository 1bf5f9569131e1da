"""Model name -> folder: known names, folders on this machine, repositories on the Hugging Face Hub."""

import difflib
import logging
import re
from pathlib import Path

from longlive.config import ModelConfig
from longlive.errors import CheckpointError
from longlive.weights.assembly import ProgressCallback, assemble
from longlive.weights.downloads import hub_errors
from longlive.weights.family import BUILT_IN, RELEASED
from longlive.weights.layout import ModelFolder

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed package holds the assets itself; in a checkout they lie beside the package.
ASSETS = _PACKAGE / "assets" if (_PACKAGE / "assets").is_dir() else _PACKAGE.parent / "assets"
EMBEDDED = {"storybook": ASSETS / "storybook"}
KNOWN_MODELS = (*EMBEDDED, *RELEASED)
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FILES = ("longlive.json", "model_index.json", "*/*.json", "*/*.safetensors")


def resolve(name: str | Path, progress: ProgressCallback = logger.info) -> ModelFolder:
    """Find a model, fetching what is missing, and read its config; no weights are loaded.

    Args:
        name: one of ``KNOWN_MODELS``, a folder in our layout, or a Hub id.
        progress: gets a line for each thing that takes long.

    Raises:
        CheckpointError: when there is no such model, the Hub does not hand it out, or a config file does not
            fit; says what to do.
    """
    return ModelFolder.read(find_model(name, progress), str(name))


def find_model(name: str | Path, progress: ProgressCallback = logger.info) -> Path:
    """The folder of a model, whatever it holds; arguments and errors as for ``resolve``."""
    name = str(name)
    if name in RELEASED:
        return assemble(RELEASED[name], progress)
    if name in EMBEDDED:
        return _embedded(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if HUB_ID.fullmatch(name) and not folder.exists():
        return _download(name)
    near = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise CheckpointError(
        f"There is no model {name!r}. {hint}Known models: {', '.join(KNOWN_MODELS)}; "
        "a folder in diffusers' layout with a longlive.json, or a Hub id such as 'owner/name', will do too."
    )


def config_of(name: str | Path) -> ModelConfig:
    """The config of a model by its name; those in ``BUILT_IN`` need no files."""
    return BUILT_IN.get(str(name)) or resolve(name).config


def _embedded(name: str) -> Path:
    folder = EMBEDDED[name]
    if not folder.is_dir():
        raise CheckpointError(
            f"The folder of the model {name!r}, {folder}, is missing. Restore it from the repository "
            "(git checkout -- assets), or train it: python -m longlive train storybook."
        )
    return folder


def _download(repository: str) -> Path:
    """The folder of a Hub repository in the local cache, fetched where it is missing."""
    import huggingface_hub

    with hub_errors(repository):
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=list(FILES)))
