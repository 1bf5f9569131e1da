"""Recipe -> a model's folder: fetched, checked and converted once, and kept beside the Hub's cache.

Nothing is ever half there: each file is written beside its place and then moved, and so is the whole folder.
A conversion that was broken off goes on with the files that it had finished.
"""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from longlive.config import ModelConfig
from longlive.errors import CheckpointError
from longlive.models.model_card import ModelCard
from longlive.weights.downloads import (
    Source,
    check_space,
    fetch,
    free_bytes,
    gigabytes,
    local_files,
    missing_files,
    verified_digest,
)
from longlive.weights.layout import (
    DECODERS,
    SOURCES,
    TEXT_WEIGHTS,
    WEIGHTS,
    read_json,
    write_facts,
    write_json,
)
from longlive.weights.weight_files import parts_of, sha256_of

logger = logging.getLogger(__name__)

# Raised when what is written changes, so that folders of earlier versions are not taken for new ones.
CONVERTER_VERSION = 1

Origin = Source | Path
ProgressCallback = Callable[[str], object]
Files = Mapping[Source, Mapping[str, Path]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a model is assembled from. An origin is a Hub repository's file, or a file on this machine.

    Attributes:
        config, card: its facts.
        weights, lora: the transformer, and what is merged into it, ``lora_scale`` (alpha / rank) times.
        text_encoder: umT5's weights.
        parts: config of the text encoder, tokenizer and VAE, in diffusers' layout.
        tiny_vae, light_vae: further decoders; a model is whole without them.
        dtype: what the transformer is rounded to after merging.
    """

    config: ModelConfig
    card: ModelCard
    weights: Origin
    text_encoder: Origin
    parts: Source
    lora: Origin | None = None
    lora_scale: float = 1.0
    tiny_vae: Origin | None = None
    light_vae: Origin | None = None
    dtype: torch.dtype = torch.bfloat16

    @property
    def needed(self) -> list[Source]:
        """The repositories' files that the model cannot do without."""
        return [o for o in (self.weights, self.lora, self.text_encoder, self.parts) if isinstance(o, Source)]

    def request(self) -> dict[str, Any]:
        """All that the outcome depends on, as JSON: repositories by revision, own files by their digest."""
        origins = {"weights": self.weights, "lora": self.lora, "text": self.text_encoder, "parts": self.parts}
        facts = {
            "edition": CONVERTER_VERSION,
            "dtype": str(self.dtype),
            "lora_scale": self.lora_scale,
            "config": dataclasses.asdict(self.config),
            "origins": {name: _identity(origin) for name, origin in origins.items()},
        }
        return json.loads(json.dumps(facts))


def assemble(recipe: Recipe, tell: ProgressCallback = logger.info) -> Path:
    """The folder of a model, fetched and converted if it is not there yet.

    Args:
        recipe: what it is made from.
        tell: gets a line for each thing that takes long.

    Raises:
        CheckpointError: when something cannot be fetched, does not fit or has no room; says what to do.
    """
    from huggingface_hub.utils import WeakFileLock

    request = recipe.request()
    known = _assembled(recipe, request)
    if known is not None:
        return known
    root = cache_folder()
    with _disk(root):
        root.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(str(root / f".{recipe.config.name}.lock")):
            return _assembled(recipe, request) or _assemble(recipe, request, tell)


def print_download_plan(recipe: Recipe, tell: ProgressCallback = logger.info) -> None:
    """Tell what is to be fetched and written, and what is free; CheckpointError when that is too little."""
    from huggingface_hub import constants

    missing, hub = missing_files(recipe.needed), Path(constants.HF_HUB_CACHE).expanduser()
    coming = sum(file.size for file in missing)
    sizes = {(file.source, file.name): file.size for file in missing}
    written = sum(_size(origin, sizes) for origin in (recipe.weights, recipe.text_encoder))
    for file in missing:
        tell(f"to fetch: {gigabytes(file.size):>10}  {file.source.repository} {file.name}")
    tell(
        f"to fetch: {gigabytes(coming)} in all; to write: at most {gigabytes(written)}; "
        f"free: {gigabytes(free_bytes(hub))} in {hub.parent}"
    )
    check_space(coming + written, hub)


def add_decoders(recipe: Recipe, folder: Path, tell: ProgressCallback = logger.info) -> None:
    """Put the further decoders into a model's folder where they are not there yet; tell why if that fails."""
    from longlive.weights.conversion import write_light_vae, write_tiny_vae

    full = read_json(folder / "vae/config.json")
    ways = (
        (DECODERS["tiny"], recipe.tiny_vae, write_tiny_vae),
        (DECODERS["light"], recipe.light_vae, partial(write_light_vae, config=full)),
    )
    for part, origin, write in ways:
        if origin is None or (folder / part / WEIGHTS).is_file():
            continue
        try:
            file = _file(origin, {origin: fetch(origin)} if isinstance(origin, Source) else {})
            verified_digest(file)
            with _disk(folder), _unfinished(folder / part / WEIGHTS) as path:
                write_json(folder / part / "config.json", write(path, file))
        except CheckpointError as error:
            tell(f"no {part}: {error} The model works without it.")


def cache_folder() -> Path:
    """Where converted models lie: beside the Hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser().parent / "longlive"


def _assembled(recipe: Recipe, request: Mapping[str, Any]) -> Path | None:
    """The folder of a finished conversion of the same request."""
    for file in sorted(cache_folder().glob(f"{recipe.config.name}-*/{SOURCES}")):
        if file.parent.suffix != ".partial" and read_json(file).get("request") == request:
            return file.parent
    return None


def _assemble(recipe: Recipe, request: Mapping[str, Any], tell: ProgressCallback) -> Path:
    print_download_plan(recipe, tell)
    files = {source: fetch(source) for source in recipe.needed}
    sources = {}
    for source, name in [(source, name) for source, found in files.items() for name in found]:
        tell(f"checking {name}")
        sources[f"{source.repository}/{name}"] = verified_digest(files[source][name])
    key = hashlib.sha256(json.dumps([request, sources], sort_keys=True).encode()).hexdigest()[:12]
    folder = cache_folder() / f"{recipe.config.name}-{key}"
    growing = folder.with_name(f"{folder.name}.partial")
    tell(f"converting into {folder}")
    written = _convert(recipe, files, growing, tell)
    add_decoders(recipe, growing, tell)
    write_facts(growing, recipe.config, recipe.card)
    write_json(growing / SOURCES, {"request": request, "sources": sources, "written": written})
    growing.rename(folder)
    return folder


def _convert(recipe: Recipe, files: Files, folder: Path, tell: ProgressCallback) -> dict[str, str]:
    """Write all weights that are not there from an earlier try; their SHA-256 by name."""
    from longlive.weights.conversion import write_text_encoder, write_transformer

    for name, source in files[recipe.parts].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _link(source, folder / name)
    transformer = partial(
        write_transformer,
        config=recipe.config.transformer,
        weights=_file(recipe.weights, files),
        lora=None if recipe.lora is None else _file(recipe.lora, files),
        lora_scale=recipe.lora_scale,
        dtype=recipe.dtype,
    )
    text_encoder = partial(
        write_text_encoder,
        config=read_json(folder / "text_encoder/config.json"),
        weights=_file(recipe.text_encoder, files),
    )
    ways = {f"transformer/{WEIGHTS}": transformer, f"text_encoder/{TEXT_WEIGHTS}": text_encoder}
    written = {f"vae/{WEIGHTS}": sha256_of(folder / "vae" / WEIGHTS)}
    for name, write in ways.items():
        tell(f"writing {name}")
        if (folder / name).is_file():
            written[name] = sha256_of(folder / name)
        else:
            with _unfinished(folder / name) as path:
                written[name] = write(path)
    return written


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Where to write a file that is to be ``path``; it takes its place only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _link(source: Path, path: Path) -> None:
    """The same file under another name; a copy where the disk is another."""
    path.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copyfile(source, path)


def _file(origin: Origin, files: Files) -> Path:
    """The one file of an origin."""
    return files[origin][origin.files[0]] if isinstance(origin, Source) else origin


def _identity(origin: Origin | None) -> Any:
    if isinstance(origin, Path):
        return [sha256_of(part) for part in parts_of(origin)]
    return origin and [origin.repository, origin.revision, *origin.files]


def _size(origin: Origin, coming: Mapping[tuple[Source, str], int]) -> int:
    if isinstance(origin, Path):
        return sum(part.stat().st_size for part in parts_of(origin))
    here = {name: path.stat().st_size for name, path in local_files(origin).items()}
    return sum(coming.get((origin, name), here.get(name, 0)) for name in origin.files)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Say what to do when a disk is full, or cannot be written."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written: {error}. Make room, or set HF_HOME to a folder on a larger disk; "
            "what was finished is kept."
        ) from error
