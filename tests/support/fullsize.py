"""longlive-1.3b at its true size, with random weights, on a CPU: from published files to a replayed video.

    python -m tests.support.fullsize FOLDER [--tiny] [--threads N] [STAGE …]

Each stage runs in a process of its own and prints one JSON line as soon as it has ended; the lines are kept
in ``FOLDER/fullsize.jsonl``, and the same command goes on behind the stages that stand there. ``--tiny``
takes the same way with models of a few kilobytes.
"""

import argparse
import json
import mmap
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from longlive.cli import main as longlive
from longlive.generation.session_file import SessionRecord
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.options import print_progress
from longlive.runtime.startup import RuntimeOptions, ready_models
from longlive.weights import registry
from longlive.weights.assembly import assemble
from longlive.weights.downloads import fetch, missing_files
from longlive.weights.formats.key_mapping import transformer_to_released
from longlive.weights.formats.weight_files import sha256_of
from longlive.weights.released import LONGLIVE_SOURCES, ModelSources
from tests.support import published_weights as published
from tests.support.hub_fixtures import FakeHub, etag_file, serving
from tests.support.tiny_model import tiny_encoder_config

MODEL = "longlive-1.3b"
PROMPTS = "a red ball stands on a meadow", "the blue ball jumps on a meadow"
UMT5_XXL = UMT5Config(
    vocab_size=256384,
    d_model=4096,
    d_kv=64,
    d_ff=10240,
    num_layers=24,
    num_heads=64,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
)
"""Source: google/umt5-xxl, as Wan 2.1 publishes its encoder."""
SAMPLE_S = 0.2


@dataclass(frozen=True)
class Recipe:
    """What is made, and where.

    Attributes:
        folder: of everything.
        sources: the model's.
        text_encoder: umT5's config.
        rank: of the LoRA.
        vae_width: base channels of the Wan VAE.
        threads: of torch.
    """

    folder: Path
    sources: ModelSources
    text_encoder: UMT5Config
    rank: int
    vae_width: int
    threads: int

    @property
    def hub(self) -> Path:
        """The repositories as they are published."""
        return self.folder / "published"

    @property
    def video(self) -> Path:
        return self.folder / "video.mp4"

    @property
    def session(self) -> Path:
        return self.folder / "session.json"

    def options(self) -> list[str]:
        """Of the commands that run the model."""
        return ["--dtype", "bfloat16", "--decoder", "tiny", "--threads", str(self.threads), "--json"]


def full(folder: Path, threads: int) -> Recipe:
    return Recipe(folder, LONGLIVE_SOURCES, UMT5_XXL, rank=256, vae_width=96, threads=threads)


def tiny(folder: Path, threads: int) -> Recipe:
    return Recipe(folder, published.SOURCES, tiny_encoder_config(), published.RANK, 8, threads)


def write(recipe: Recipe) -> dict[str, Any]:
    """The published files, of random numbers; those that are there whole are kept."""
    sources, hub = recipe.sources, recipe.hub
    with torch.device("meta"):
        transformer = CausalWanTransformer(sources.config.transformer).state_dict()
        encoder = UMT5EncoderModel(recipe.text_encoder).bfloat16().state_dict()
    released = transformer_to_released(transformer)
    pairs = {
        name: torch.empty(shape, device="meta")
        for name, shape in published.lora_shapes(released, recipe.rank).items()
    }
    longlive_files, wan = hub / sources.weights.repository, hub / sources.parts.repository
    write_checkpoint(longlive_files / published.BASE, {"generator": released})
    write_checkpoint(longlive_files / published.LORA, {"generator_lora": pairs, "critic_lora": pairs})
    write_checkpoint(hub / sources.text_encoder.repository / published.TEXT, published.umt5_names(encoder))
    if not (wan / "scheduler").is_dir():
        published.write_wan(wan, recipe.vae_width, recipe.text_encoder)
        published.write_decoders(hub / sources.tiny_vae.repository, recipe.vae_width // 4)
    files = {str(path.relative_to(hub)): path.stat().st_size for path in hub.rglob("*") if path.is_file()}
    return {"bytes": sum(files.values()), "files": {name: size for name, size in files.items() if size > 1e6}}


def write_checkpoint(path: Path, nested: Mapping[str, Any]) -> None:
    """A file of torch.save of any size: first its frame, then its numbers, through a memory map."""
    if etag_file(path).is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with torch.serialization.skip_data():
        torch.save(_map(nested, lambda like: torch.empty(like.shape, dtype=like.dtype)), part)
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        mapped = torch.load(part, mmap=True, weights_only=True)
    torch.manual_seed(3)
    _map(mapped, _fill)
    part.replace(path)
    etag_file(path).write_text(sha256_of(path))


def _fill(tensor: Tensor) -> Tensor:
    """Random numbers of the size of trained ones: matrices about 0, vectors (of norms) about 1."""
    return tensor.normal_(0.0 if tensor.ndim > 1 else 1.0, 0.02)


def _map(nested: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(nested, Tensor):
        return change(nested)
    return {name: _map(value, change) for name, value in nested.items()}


def fetch_all(recipe: Recipe) -> dict[str, Any]:
    """All files into the Hub's cache; then those that were published are deleted, to save the room."""
    sources = recipe.sources
    wanted = [*sources.needed, sources.tiny_vae, sources.light_vae]
    missing = missing_files(wanted)
    for source in wanted:
        fetch(source, missing)
    for path in recipe.hub.rglob("*"):
        if path.is_file() and path.stat().st_size > 1e6:
            path.unlink()
    return {"bytes": sum(file.size for file in missing)}


def convert(recipe: Recipe) -> dict[str, Any]:
    """Checked against their digests, merged, and written in our layout."""
    folder = assemble(recipe.sources, print_progress)
    return {"folder": folder.name, "bytes": disk_bytes(folder)}


def load(recipe: Recipe) -> dict[str, Any]:
    """Loaded as the commands do."""
    options = RuntimeOptions(dtype="bfloat16", decoder="tiny", threads=recipe.threads)
    models = ready_models(MODEL, options, print_progress)
    return {"parameters": sum(weight.numel() for weight in models.transformer.parameters())}


def generate(recipe: Recipe) -> dict[str, Any]:
    """Two chunks, the second under another prompt: an MP4 of H.264, and a session file."""
    config = recipe.sources.config
    switch_s = config.num_frames(config.chunk) / config.fps
    seconds = config.num_frames(2 * config.chunk) / config.fps
    command = ["generate", "--model", MODEL, "--prompt", PROMPTS[0], "--at", str(switch_s), PROMPTS[1]]
    command += ["--seconds", str(seconds), "--seed", "7", "--force"]
    command += ["--out", str(recipe.video), "--session", str(recipe.session)]
    check(longlive([*command, *recipe.options()]))
    record = SessionRecord.read(recipe.session)
    switches = [(prompt.chunk, prompt.switch) for prompt in record.prompts]
    return {"chunks": len(record.chunks), "switches": switches, "video_bytes": recipe.video.stat().st_size}


def replay(recipe: Recipe) -> dict[str, Any]:
    """Both chunks again, from the session file; each must be what it was, bit for bit."""
    check(longlive(["replay", str(recipe.session), "--verify", *recipe.options()]))
    return {"chunks": len(SessionRecord.read(recipe.session).chunks), "verified": True}


STAGES = {
    "write": write,
    "fetch": fetch_all,
    "convert": convert,
    "load": load,
    "generate": generate,
    "replay": replay,
}


def check(code: int) -> None:
    if code:
        raise RuntimeError(f"the command ended with {code}")


def disk_bytes(folder: Path) -> int:
    """What a folder takes of the disk; files with several names count once."""
    found = {}
    for path in folder.rglob("*"):
        try:
            facts = path.lstat()
        except FileNotFoundError:  # moved meanwhile
            continue
        found[facts.st_ino] = 512 * facts.st_blocks
    return sum(found.values())


@dataclass
class Peaks:
    """The most that a process and its folder have taken.

    Attributes:
        anonymous: bytes of memory that no file stands behind, so that they cannot be dropped; sampled.
        disk: bytes of the folder; sampled.
    """

    anonymous: int = 0
    disk: int = 0

    def sample(self, pid: int, folder: Path) -> None:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        lines = dict(line.split(":", 1) for line in status.splitlines())
        self.anonymous = max(self.anonymous, 1024 * int(lines.get("RssAnon", "0 kB").split()[0]))
        self.disk = max(self.disk, disk_bytes(folder))


@contextmanager
def watched(pid: int, folder: Path) -> Iterator[Peaks]:
    peaks, ended = Peaks(), threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            peaks.sample(pid, folder)

    peaks.sample(pid, folder)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def run_stage(name: str, recipe: Recipe) -> dict[str, Any]:
    """What a stage found, and what it took; ``failed`` says why it did not end."""
    begun = time.perf_counter()
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        _run_child(name, recipe, writing)
    os.close(writing)
    try:
        with watched(pid, recipe.folder) as peaks:
            with os.fdopen(reading) as answer:
                found = answer.read()
            _, status, usage = os.wait4(pid, 0)
    except BaseException:  # stopped: so is the stage, at once
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    result = json.loads(found) if found else {"failed": f"ended with {os.waitstatus_to_exitcode(status)}"}
    return {
        "stage": name,
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_resident_bytes": 1024 * usage.ru_maxrss,
        "peak_anonymous_bytes": peaks.anonymous,
        "disk_bytes": disk_bytes(recipe.folder),
        "peak_disk_bytes": max(peaks.disk, disk_bytes(recipe.folder)),
        **result,
    }


def _run_child(name: str, recipe: Recipe, answer: int) -> None:
    """Run a stage and end this process; what it prints goes to stderr, beside the progress."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 1
    try:
        os.dup2(2, 1)
        torch.set_num_threads(recipe.threads)
        result = STAGES[name](recipe)
        code = 0
    except BaseException as error:
        traceback.print_exc()
        result = {"failed": f"{type(error).__name__}: {error}"}
    with os.fdopen(answer, "w") as file:
        json.dump(result, file)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(recipe: Recipe, names: list[str]) -> int:
    """Run the stages that have not been done; 1 if one fails, and those behind it are not begun."""
    recipe.folder.mkdir(parents=True, exist_ok=True)
    diary = recipe.folder / "fullsize.jsonl"
    lines = [json.loads(line) for line in diary.read_text().splitlines()] if diary.exists() else []
    done = {line["stage"] for line in lines if "failed" not in line}
    revisions = published.revisions()
    cache = recipe.folder / "cache" / "hub"
    is_tiny = recipe.sources is published.SOURCES
    with pytest.MonkeyPatch.context() as patch, serving(FakeHub(recipe.hub, revisions), cache, patch):
        patch.setitem(registry.RELEASED, MODEL, recipe.sources)
        if is_tiny:
            patch.setattr("longlive.weights.downloads.LARGE", 10_000)
        for name in names:
            if name in done:
                continue
            line = json.dumps(run_stage(name, recipe) | {"threads": recipe.threads, "tiny": is_tiny})
            print(line, flush=True)
            with diary.open("a") as file:
                file.write(f"{line}\n")
            if "failed" in json.loads(line):
                return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)} (default: all)")
    args = parser.parse_intermixed_args(arguments)
    if unknown := set(args.stages) - set(STAGES):
        parser.error(f"there is no stage {', '.join(sorted(unknown))}; the stages are {', '.join(STAGES)}")
    recipe = (tiny if args.tiny else full)(args.folder, args.threads)
    return run(recipe, args.stages or [*STAGES])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
