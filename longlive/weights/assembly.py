"""ModelSources -> a model's folder: fetched, checked and converted once, and kept beside the Hub's cache.

Nothing is ever half there: each file is written beside its place and then moved, and so is the whole folder.
A conversion that was interrupted resumes after the files that it had finished.
"""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from longlive.config import LATER_FACTS, ModelConfig
from longlive.errors import CheckpointError
from longlive.files import atomic_write
from longlive.weights.downloads import (
    HubFiles,
    MissingFile,
    check_space,
    fetch,
    free_disk_bytes,
    gigabytes,
    local_files,
    missing_files,
    verified_digest,
)
from longlive.weights.formats.lora_reading import lora_files
from longlive.weights.formats.weight_files import sha256_of
from longlive.weights.formats.weight_parts import parts_of
from longlive.weights.layout import (
    CONTEXT_TRANSFORMER,
    DECODERS,
    FACTS,
    SOURCES,
    TEXT_WEIGHTS,
    WEIGHTS,
    read_json,
    write_facts,
    write_json,
)
from longlive.weights.released import LoraSource, ModelSources, Origin

logger = logging.getLogger(__name__)

# Raised when what is written changes, so that folders of earlier versions are not taken for new ones.
CONVERTER_VERSION = 1
UNFINISHED = ".unfinished"

ProgressCallback = Callable[[str], object]
Files = Mapping[HubFiles, Mapping[str, Path]]


@dataclass(frozen=True)
class DownloadPlan:
    """What assembling a model takes.

    Attributes:
        missing: the files to fetch.
        bytes_to_write: what the conversion writes, at most.
        cache: the Hub's cache; converted models lie on the same disk.
    """

    missing: tuple[MissingFile, ...]
    bytes_to_write: int
    cache: Path

    @property
    def bytes_to_fetch(self) -> int:
        """The size of all missing files."""
        return sum(file.size for file in self.missing)

    def lines(self) -> Iterator[str]:
        """The plan for people: a line per file, and the sums."""
        for file in self.missing:
            yield f"to fetch: {gigabytes(file.size):>10}  {file.source.repository} {file.name}"
        yield (
            f"to fetch: {gigabytes(self.bytes_to_fetch)} in all; "
            f"to write: at most {gigabytes(self.bytes_to_write)}; "
            f"free: {gigabytes(free_disk_bytes(self.cache))} in {self.cache.parent}"
        )


def assemble(sources: ModelSources, progress: ProgressCallback = logger.info) -> Path:
    """The folder of a model, fetched and converted if it does not exist yet.

    Optional decoders that are missing, say because they could not be fetched the last time, are fetched now;
    the model works without them.

    Args:
        sources: what it is made from.
        progress: gets a line for each thing that takes long.

    Raises:
        CheckpointError: when something cannot be fetched, does not fit or has no room; says what to do.
    """
    request = _request(sources)
    folder = _find_assembled(sources, request)
    if folder is None:
        with _locked(sources):
            folder = _find_assembled(sources, request) or _assemble(sources, request, progress)
    _add_missing_decoders(sources, folder, progress)
    _add_sizes(sources, folder, progress)
    return folder


def print_download_plan(sources: ModelSources, progress: ProgressCallback = logger.info) -> DownloadPlan:
    """Say what is to be fetched and written, and what is free; CheckpointError when that is too little.

    Files of one's own are looked into first, so that a wrong one is found before anything is fetched.
    """
    from huggingface_hub import constants

    for line in sources.lines():
        progress(line)
    _check_own_files(sources)
    missing = tuple(missing_files(sources.needed))
    sizes = {(file.source, file.name): file.size for file in missing}
    to_write = sum(_size(origin, sizes) for origin in (sources.weights, sources.text_encoder))
    plan = DownloadPlan(missing, to_write, Path(constants.HF_HUB_CACHE).expanduser())
    for line in plan.lines():
        progress(line)
    check_space(plan.bytes_to_fetch + plan.bytes_to_write, plan.cache)
    return plan


def _check_own_files(sources: ModelSources) -> None:
    """Check a checkpoint and LoRAs on this machine; CheckpointError says what does not fit."""
    from longlive.weights.conversion import check_transformer
    from longlive.weights.formats.lora_reading import read_lora

    loras = [lora.at(lora.origin) for lora in sources.loras if isinstance(lora.origin, Path)]
    if isinstance(sources.weights, Path):
        shape = sources.config.transformer
        has_context, key = sources.config.context_transformer, sources.weights_key
        check_transformer(shape, sources.weights, loras, has_context=has_context, weights_key=key)
    else:
        for lora in loras:
            read_lora(lora.path)


def cache_folder() -> Path:
    """Where converted models lie: beside the Hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser().parent / "longlive"


def _request(sources: ModelSources) -> dict[str, Any]:
    """All that the outcome depends on, as JSON: repositories by revision, own files by their digest."""
    first = next(iter(sources.loras), None)
    origins = {
        "weights": sources.weights,
        "lora": first.origin if first else None,
        "text": sources.text_encoder,
        "parts": sources.parts,
    }
    has_key = isinstance(sources.weights, Path) or sources.weights_key is not None
    facts = {
        "edition": CONVERTER_VERSION,
        "dtype": str(sources.dtype),
        "lora_scale": first and first.scale,
        **({"weights_key": sources.weights_key} if has_key else {}),
        **_lora_request(sources.loras),
        "config": _facts(sources.config),
        "origins": {name: _identity(origin) for name, origin in origins.items()},
    }
    return json.loads(json.dumps(facts))


def _lora_request(loras: Sequence[LoraSource]) -> dict[str, Any]:
    """What earlier versions did not know: several LoRAs, and strengths."""
    if len(loras) <= 1 and all(lora.strength == 1 for lora in loras):
        return {}
    return {"loras": [[_identity(lora.origin), lora.scale, lora.strength] for lora in loras]}


def _facts(config: ModelConfig) -> dict[str, Any]:
    """The config as earlier versions wrote it, and what they do not know only where it matters."""
    config = dataclasses.replace(config, sizes=())
    facts = dataclasses.asdict(config)
    return {name: facts[name] for name in facts if name not in LATER_FACTS} | config.later_facts


def _find_assembled(sources: ModelSources, request: Mapping[str, Any]) -> Path | None:
    """The folder of a finished conversion of the same request."""
    for file in sorted(cache_folder().glob(f"{sources.config.name}-*/{SOURCES}")):
        if file.parent.suffix != ".partial" and read_json(file).get("request") == request:
            return file.parent
    return None


def _assemble(sources: ModelSources, request: Mapping[str, Any], progress: ProgressCallback) -> Path:
    plan = print_download_plan(sources, progress)
    files = {source: fetch(source, plan.missing) for source in sources.needed}
    digests = {}
    for source, name in [(source, name) for source, found in files.items() for name in found]:
        progress(f"checking {name}")
        digests[f"{source.repository}/{name}"] = verified_digest(files[source][name])
    key = hashlib.sha256(json.dumps([request, digests], sort_keys=True).encode()).hexdigest()[:12]
    folder = cache_folder() / f"{sources.config.name}-{key}"
    growing = folder.with_name(f"{folder.name}.partial")
    progress(f"converting into {folder}")
    written = _convert(sources, files, growing, progress)
    write_facts(growing, sources.config, sources.card)
    made_from = {"request": request, "sources": digests, "loras": _lora_facts(sources.loras, digests)}
    write_json(growing / SOURCES, made_from | {"written": written})
    growing.rename(folder)
    return folder


def _lora_facts(loras: Sequence[LoraSource], digests: Mapping[str, str]) -> list[dict[str, Any]]:
    """What was merged, in order: names, strengths, and SHA-256 of the files."""
    facts = []
    for lora in loras:
        origin = lora.origin
        if isinstance(origin, Path):
            name, files = origin.name, {part.name: sha256_of(part) for part in lora_files(origin)}
        else:
            name, files = (
                origin.repository,
                {one: digests[f"{origin.repository}/{one}"] for one in origin.files},
            )
        facts.append({"name": name, "strength": lora.strength, "scale": lora.scale, "sha256": files})
    return facts


def _convert(sources: ModelSources, files: Files, folder: Path, progress: ProgressCallback) -> dict[str, str]:
    """Write all weights that an earlier try has not written; returns their SHA-256 by name."""
    from longlive.weights.conversion import (
        write_context_transformer,
        write_text_encoder,
        write_transformer,
    )

    for name, source in files[sources.parts].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _link(source, folder / name)
    what: dict[str, Any] = {
        "config": sources.config.transformer,
        "weights": _file(sources.weights, files),
        "weights_key": sources.weights_key,
        "dtype": sources.dtype,
    }
    transformer = partial(
        write_transformer,
        **what,
        has_context=sources.config.context_transformer,
        loras=[lora.at(_file(lora.origin, files)) for lora in sources.loras],
        progress=progress,
    )
    text_encoder = partial(
        write_text_encoder,
        config=read_json(folder / "text_encoder/config.json"),
        weights=_file(sources.text_encoder, files),
    )
    writers: dict[str, Callable[[Path], str]] = {
        f"transformer/{WEIGHTS}": transformer,
        f"text_encoder/{TEXT_WEIGHTS}": text_encoder,
    }
    if sources.config.context_transformer:
        writers[f"{CONTEXT_TRANSFORMER}/{WEIGHTS}"] = partial(write_context_transformer, **what)
    written = {f"vae/{WEIGHTS}": sha256_of(folder / "vae" / WEIGHTS)}
    for name, write in writers.items():
        path = folder / name
        progress(f"writing {name}")
        if path.is_file():
            written[name] = sha256_of(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, suffix=UNFINISHED) as part:
                written[name] = write(part)
    return written


def _add_missing_decoders(sources: ModelSources, folder: Path, progress: ProgressCallback) -> None:
    """Put the optional decoders into a model's folder where they are missing; say why if that fails."""
    for name, origin in (("tiny", sources.tiny_vae), ("light", sources.light_vae)):
        part = folder / DECODERS[name]
        if origin is None or (part / WEIGHTS).is_file():
            continue
        try:
            with _locked(sources):
                _add_decoder(name, origin, folder)
        except CheckpointError as error:
            progress(f"no {part.name}: {error} The model works without it.")


def _add_sizes(sources: ModelSources, folder: Path, progress: ProgressCallback) -> None:
    """Write the facts anew into a folder of an earlier version, which knew no further sizes.

    Its digest stays, so its session files do.
    """
    facts = read_json(folder / FACTS)
    if not sources.config.sizes or "sizes" in facts:
        return
    try:
        with _locked(sources):
            write_facts(folder, sources.config, sources.card)
    except CheckpointError as error:
        progress(f"{sources.config.name} has one size: {error}")


def _add_decoder(name: str, origin: Origin, folder: Path) -> None:
    from longlive.weights.conversion import write_light_vae, write_tiny_vae

    part = folder / DECODERS[name]
    file = _file(origin, {origin: fetch(origin)} if isinstance(origin, HubFiles) else {})
    verified_digest(file)
    part.mkdir(exist_ok=True)
    with atomic_write(part / WEIGHTS, suffix=UNFINISHED) as path:
        if name == "tiny":
            config = write_tiny_vae(path, file)
        else:
            config = write_light_vae(path, file, read_json(folder / "vae/config.json"))
        write_json(part / "config.json", config)


def _link(source: Path, path: Path) -> None:
    """Give a file a second name; copy it where the disk is another."""
    path.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copyfile(source, path)


def _file(origin: Origin, files: Files) -> Path:
    """The one file of an origin."""
    return files[origin][origin.files[0]] if isinstance(origin, HubFiles) else origin


def _identity(origin: Origin | None) -> Any:
    if isinstance(origin, Path):
        return [sha256_of(part) for part in lora_files(origin)]
    return origin and [origin.repository, origin.revision, *origin.files]


def _size(origin: Origin, coming: Mapping[tuple[HubFiles, str], int]) -> int:
    if isinstance(origin, Path):
        return sum(part.stat().st_size for part in parts_of(origin))
    here = {name: path.stat().st_size for name, path in local_files(origin).items()}
    return sum(coming.get((origin, name), here.get(name, 0)) for name in origin.files)


@contextmanager
def _locked(sources: ModelSources) -> Iterator[None]:
    """Work on the folders of a model while no other process does; a full disk is a CheckpointError."""
    # The lock of the Hub's library, since it works on every disk on which the Hub's cache does.
    from huggingface_hub.utils import WeakFileLock

    root = cache_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(str(root / f".{sources.config.name}.lock")):
            yield
    except OSError as error:
        raise CheckpointError(
            f"{root} cannot be written: {error}. Make room, or set HF_HOME to a folder on a larger disk; "
            "what was finished is kept."
        ) from error
