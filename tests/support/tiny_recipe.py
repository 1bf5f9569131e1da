"""A recipe for the tiny model: sequences of 6, 9, 12 and 15 latents, two micro-batches of one sample."""

from pathlib import Path
from typing import Any

from longlive.training.processes import Processes
from longlive.training.recipe import Recipe
from longlive.training.setup import new_stage
from longlive.training.trainer import Trainer

PROMPTS = (
    "a red ball stands",
    "a blue cube jumps",
    "the red star spins",
    "the green cube stands on a meadow",
)
NEXT_PROMPTS = ("a red ball jumps", "a blue cube stands", "the red star stands", "the green cube spins")


def tiny_tables(tiny: Path, folder: Path, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of the recipe, with the keys of ``sections`` on top; prompts are written to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (folder / "next.txt").write_text("\n".join(NEXT_PROMPTS) + "\n")
    tables: dict[str, dict[str, Any]] = {
        "models": {"generator": str(tiny), "teacher": str(tiny)},
        "data": {"prompts": str(folder / "prompts.txt"), "next_prompts": str(folder / "next.txt")},
        "run": {"steps": 4, "global_batch": 2, "generator_every": 2, "save_every": 0, "log_every": 1},
        "generator": {"lr": 1e-3, "ema": 0.9},
        "critic": {"lr": 1e-3},
        "sequences": {"clip": 6, "new_latents": 3, "max_latents": 15},
        "teaching": {"num_pairs": 2, "ode_steps": 4},
    }
    for name, values in sections.items():
        tables[name] = tables.get(name, {}) | values
    return tables


def tiny_recipe(tiny: Path, folder: Path, **sections: dict[str, Any]) -> Recipe:
    """The recipe itself."""
    return Recipe.of(tiny_tables(tiny, folder, **sections))


def tiny_trainer(recipe: Recipe, folder: Path, name: str = "streaming") -> Trainer:
    """A trainer in this process alone, gone on from what is in ``folder``."""
    processes = Processes()
    return Trainer(new_stage(name, recipe, processes, folder=folder), recipe, folder, processes, name=name)


def toml_of(tables: dict[str, dict[str, Any]]) -> str:
    """The tables as a file says them."""
    lines = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
