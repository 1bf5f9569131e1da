"""The command ``space``: a folder that can be uploaded as a Hugging Face Space, and the commands that do so.

Sources, of 2026: huggingface/hub-docs (spaces-zerogpu, spaces-dependencies, spaces-config-reference), and
``skills/huggingface-spaces`` of huggingface/skills, which says what a Space's requirements must not list.
"""

import argparse
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longlive.cli.common import Command, print_result
from longlive.errors import ConfigError
from longlive.files import check_folder
from longlive.version import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
COPIED = ("app.py", "LICENSE", "longlive", "assets/storybook", "assets/prompts")
LEFT_OUT = ("__pycache__", "*.pyc", "*.pyi")

PLATFORM = {"gradio", "spaces", "huggingface-hub"}
"""What the platform installs in versions of its own; named again, they may break its runtime unnoticed."""
FROM_GRADIO = {"gradio-client", "httpx", "pydantic", "starlette"}
"""What comes with Gradio, in the versions that it wants."""
NOT_SERVED = {"matplotlib", "peft", "tensorboard"}
"""What only training and evaluation import."""
CPU_BUILD = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""Where a build without CUDA is, which pip prefers to the same version with it."""


@dataclass(frozen=True)
class Hardware:
    """A kind of machine that Spaces run on.

    Attributes:
        about: for people.
        torch: lines of requirements.txt for torch; None: those of the checkout.
        startup: how long the first start may take.
    """

    about: str
    torch: tuple[str, ...] | None = None
    startup: str = "30m"


HARDWARE = {
    "zero-a10g": Hardware("ZeroGPU, which has a torch of its own", torch=("torch",), startup="1h"),
    "l40sx1": Hardware("a GPU with 48 GB", startup="1h"),
    "cpu-basic": Hardware("two cores"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``space``."""
    parser.add_argument("folder", type=Path, help="to write; it must be empty, or not be there")
    kinds = "; ".join(f"{name}: {hardware.about}" for name, hardware in HARDWARE.items())
    parser.add_argument("--hardware", choices=tuple(HARDWARE), required=True, help=f"of the Space ({kinds})")
    parser.add_argument(
        "--space", default="YOU/longlive", help="its name, for the commands (default: YOU/longlive)"
    )
    parser.add_argument(
        "--model",
        default="storybook",
        help="what it serves: storybook, or the Hub id of a public repository with a converted model "
        "(default: storybook)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Write the folder; print the commands that make a Space of it."""
    _check(args)
    weights = None if _is_embedded(args.model) else args.model
    variables = {"GRADIO_SSR_MODE": "false"} | ({"LONGLIVE_MODEL": weights} if weights else {})
    for name in COPIED:
        _copy(CHECKOUT / name, args.folder / name)
    text = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8")
    (args.folder / "requirements.txt").write_text(space_requirements(text, args.hardware), encoding="utf-8")
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    matter = front_matter(text, args.hardware, weights)
    (args.folder / "README.md").write_text(f"{matter}\n{_about(args.model)}", encoding="utf-8")
    commands = hub_commands(args.folder, args.space, args.hardware, weights, variables)
    result: dict[str, Any] = {
        "folder": str(args.folder),
        "hardware": args.hardware,
        "model": args.model,
        "variables": variables,
        "commands": commands,
    }
    print_result(result, "\n".join([f"# {args.folder} is ready", *commands]), as_json=args.json)
    return 0


def space_requirements(text: str, hardware: str) -> str:
    """The requirements of a Space.

    Args:
        text: requirements.txt of the checkout.
        hardware: one of HARDWARE.
    """
    left_out = PLATFORM | FROM_GRADIO | NOT_SERVED
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line and _package(line) not in left_out]
    torch = HARDWARE[hardware].torch
    if torch is not None:
        lines = [*torch, *(line for line in lines if _package(line) != "torch")]
    if hardware.startswith("cpu-"):
        lines = [CPU_BUILD, *lines]
    return "".join(f"{line}\n" for line in lines)


def front_matter(readme: str, hardware: str, repository: str | None = None) -> str:
    """The front matter of a Space's README.md, with its marks.

    Hardware is not chosen there (``hardware:`` is ignored; ``suggested_hardware`` is for those who duplicate
    the Space), but by ``--flavor``.

    Args:
        readme: of the checkout, which has the front matter that all kinds share.
        hardware: one of HARDWARE.
        repository: of the weights, which are downloaded when the Space is built; None if they are embedded.
    """
    lines = readme.split("---\n", 2)[1].splitlines()
    lines = [line for line in lines if not line.startswith("suggested_hardware:")]
    lines += [f"suggested_hardware: {hardware}", f"startup_duration_timeout: {HARDWARE[hardware].startup}"]
    if repository:
        lines += [f"models: [{repository}]", f"preload_from_hub: [{repository}]"]
    return "\n".join(["---", *lines, "---", ""])


def hub_commands(
    folder: Path, space: str, hardware: str, weights: str | None, variables: dict[str, str]
) -> list[str]:
    """The ``hf`` commands that create a Space and fill it, in order; a repository of weights comes first."""
    settings = " ".join(f"-e {name}={value}" for name, value in variables.items())
    commands = ["hf auth login"]
    if weights:
        commands += [f"hf upload {weights} FOLDER-THAT-FETCH-PRINTED ."]
    return [
        *commands,
        f"hf repos create {space} --type space --sdk gradio --flavor {hardware} {settings}",
        f"hf upload {space} {folder} . --type space",
        f"hf spaces wait {space} --timeout {HARDWARE[hardware].startup}",
        f"hf spaces logs {space}",
    ]


def _package(requirement: str) -> str:
    """The normalized name of the package that a line of requirements names; empty for an option of pip."""
    found = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
    return found[0].lower().replace("_", "-") if found else ""


def _is_embedded(model: str) -> bool:
    from longlive.weights.registry import EMBEDDED

    return model in EMBEDDED


def _check(args: argparse.Namespace) -> None:
    """ConfigError if the folder cannot be written, or a Space could not serve the model."""
    from longlive.weights.registry import HUB_ID, KNOWN_MODELS

    if not (CHECKOUT / "app.py").is_file():
        rule = "it is copied from a checkout, and this is an installed package"
        raise ConfigError("space", str(args.folder), rule, "Run it in a clone of the repository.")
    check_folder("folder", args.folder)
    if not HUB_ID.fullmatch(args.space):
        raise ConfigError("--space", args.space, "it must be OWNER/NAME", "Try YOU/longlive.")
    if _is_embedded(args.model) or (HUB_ID.fullmatch(args.model) and not Path(args.model).exists()):
        return
    cure = "Give the Hub id of a repository, OWNER/NAME."
    if args.model in KNOWN_MODELS:
        rule = "it would be fetched and converted at every start of the Space"
        cure = (
            f"Run python -m longlive fetch {args.model}, upload the folder to a repository, and give its id."
        )
    else:
        rule = "a Space finds models only in itself (storybook) and on the Hub"
    raise ConfigError("--model", args.model, rule, cure)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
    else:
        shutil.copyfile(source, target)


def _about(model: str) -> str:
    """What the Space's README says below its front matter."""
    return (
        "# LongLive\n\nType a prompt and a video starts at once and keeps going. "
        "Type another while it plays, and the video follows.\n\n"
        f"Model: {model}. Written by `python -m longlive space`, version {__version__}.\n"
    )


COMMANDS = (
    Command("space", "write a folder for a Hugging Face Space, and how to upload it", add_arguments, run),
)
