"""Table A of the paper: LoRA ranks against full tuning, from the exported models of the runs."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from longlive.errors import ConfigError
from longlive.evaluation.obedience import evaluate_prompts
from longlive.evaluation.statistics import share
from longlive.evaluation.trials import ATTRIBUTES
from longlive.models.bundle import ModelBundle
from longlive.models.transformer import CausalWanTransformer

FULL, UNTUNED = "full", "none"

DEFINITIONS = {
    "rank": (
        "Of the LoRA on every linear of the blocks; full: all parameters of the transformer were tuned; "
        "none: the model that the runs began with."
    ),
    "trainable_parameters": "rank x (inputs + outputs) of every linear of the blocks; full: all.",
    "before": "% of prompts whose attribute the oracle reads as asked for before the switch of the action.",
    "after": "The same, for the new prompt, within 2.25 s of a soft switch of the action.",
    "one_subject": "% of clips in which the oracle counts exactly one subject.",
    "ceiling": "The same readings of the true pictures of the same trials through the codec.",
}


def compare_ranks(
    runs: Mapping[str, ModelBundle], *, num_prompts: int, seed: int, num_workers: int
) -> dict[str, Any]:
    """The scores in [0, 100] and the trainable parameters of each run, by its rank or ``full``."""
    tuned = {rank: trainable_parameters(bundle.transformer, rank) for rank, bundle in runs.items()}
    return {
        "runs": [
            {"rank": rank, "model": bundle.source, "trainable_parameters": tuned[rank]}
            | oracle_scores(bundle, num_prompts=num_prompts, seed=seed, num_workers=num_workers)
            for rank, bundle in runs.items()
        ]
    }


def trainable_parameters(transformer: CausalWanTransformer, rank: str) -> int:
    """Number of trainable parameters at this rank: ``full``, ``none``, or a whole number above 0.

    Raises:
        ConfigError: if it is none of these.
    """
    if rank == FULL:
        return sum(parameter.numel() for parameter in transformer.parameters())
    if rank == UNTUNED:
        return 0
    if not rank.isdecimal() or int(rank) == 0:
        rule = f"it must be a whole number above 0, {FULL!r} or {UNTUNED!r}"
        raise ConfigError("rank", rank, rule, "Correct --runs.")
    modules = [module for block in transformer.blocks for module in block.modules()]
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    return int(rank) * sum(linear.in_features + linear.out_features for linear in linears)


def oracle_scores(models: ModelBundle, *, num_prompts: int, seed: int, num_workers: int) -> dict[str, Any]:
    """Shares in % of ``before`` and ``after`` a soft switch, and their ``ceiling``, by attribute."""
    found = evaluate_prompts(
        models, num_prompts=num_prompts, seed=seed, modes=("soft",), num_workers=num_workers
    )

    def figures(part: str, row: str) -> dict[str, Any]:
        hits = {name: round(found[part][row][name] * num_prompts) for name in (*ATTRIBUTES, "one_subject")}
        return {
            name: share([True] * n + [False] * (num_prompts - n)).times(100).as_json()
            for name, n in hits.items()
        }

    return {
        "before": figures("before", "score"),
        "after": figures("after_soft", "score"),
        "ceiling": {"before": figures("before", "ceiling"), "after": figures("after_soft", "ceiling")},
    }
