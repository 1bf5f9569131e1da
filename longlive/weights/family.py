"""Recipes of LongLive's relatives: other checkpoints of Wan 2.1 1.3B that play with the same code.

Each is LongLive's recipe with another transformer, and what its authors' inference code does differently.
None was tuned with recaching, so prompts change by ``keep``. Sources: the published code and configs of
Self-Forcing (arXiv:2506.08009), CausVid (arXiv:2412.07772), Causal-Forcing, SGF (arXiv:2607.20368) and SGF+.
No file of theirs was at hand: what they hold is as their loaders read it. Revisions are those that others
have pinned, where known.
"""

import dataclasses
from typing import Any

from longlive.config import ModelConfig
from longlive.models.model_card import ModelCard
from longlive.weights.downloads import HubFiles
from longlive.weights.released import CARD, LONGLIVE_1_3B, LONGLIVE_SOURCES, MID_SIZE, ModelSources

SELF_FORCING = ("gdhe17/Self-Forcing", "main")
CAUSVID = ("tianweiy/CausVid", "b545eb2728fc9d1515023a270b847f7b24b3aa89")
CAUSAL_FORCING = ("zhuhz22/Causal-Forcing", "2f8eb8bb6eeb1238da9d13e5420d342a74d634a6")
SGF = ("JunhaoZhuang/Self_Gradient_Forcing", "main")
SGF_PLUS = ("ZihanSu/Self_Gradient_Forcing_Plus", "c11e68083d8904226ac18ad7874bd300649f7679")

_APACHE = "Apache-2.0"
_NON_COMMERCIAL = "CC-BY-NC-SA-4.0"

# The first 21 latents are as in the authors' code; from then on the window slides instead of ending there.
_ROLLING: dict[str, Any] = {"window": 21, "sink": 0, "positions": "relative"}
_SGF: dict[str, Any] = {"window": 12, "sink": 3, "positions": "relative"}
_SGF_FRAMEWISE: dict[str, Any] = {"chunk": 1, "window": 21, "sink": 4, "positions": "relative"}
_CAUSVID: dict[str, Any] = {"shift": 8.0, "window": 21, "sink": 0, "overlap": 3}
_PLUS: dict[str, Any] = {"context_transformer": True}


def _recipe(
    name: str, repository: tuple[str, str], file: str, key: str, licence: str, about: str, **facts: Any
) -> ModelSources:
    """LongLive's parts around another transformer; ``facts`` are the fields in which its config differs."""
    config: ModelConfig = dataclasses.replace(LONGLIVE_1_3B, name=name, switch="keep", **facts)
    return dataclasses.replace(
        LONGLIVE_SOURCES,
        config=config,
        card=ModelCard(
            f"{about} Its weights are under {licence}.",
            stories=CARD.stories,
            about_sizes=CARD.about_sizes,
        ),
        weights=HubFiles(*repository, files=(file,)),
        weights_key=key,
        loras=(),
        licence=licence,
    )


_RECIPES = (
    _recipe(
        "self-forcing",
        SELF_FORCING,
        "checkpoints/self_forcing_dmd.pt",
        "generator_ema",
        _NON_COMMERCIAL,
        "Self-Forcing, trained by distribution matching (DMD).",
        **_ROLLING,
    ),
    _recipe(
        "self-forcing-sid",
        SELF_FORCING,
        "checkpoints/self_forcing_sid.pt",
        "generator_ema",
        _NON_COMMERCIAL,
        "Self-Forcing, trained by score identity distillation (SiD).",
        **_ROLLING,
    ),
    _recipe(
        "causvid",
        CAUSVID,
        "autoregressive_checkpoint/model.pt",
        "generator",
        _NON_COMMERCIAL,
        "CausVid in three steps; long videos are rollouts that overlap.",
        steps=(1000, 757, 522),
        warp_steps=False,
        **_CAUSVID,
    ),
    _recipe(
        "causvid-4step",
        CAUSVID,
        "autoregressive_checkpoint_warp_4step_cfg2/model.pt",
        "generator",
        _NON_COMMERCIAL,
        "CausVid in four steps; long videos are rollouts that overlap.",
        **_CAUSVID,
    ),
    _recipe(
        "causal-forcing",
        CAUSAL_FORCING,
        "chunkwise/causal_forcing.pt",
        "generator",
        _APACHE,
        "Causal-Forcing, three latents at a time.",
        **_ROLLING,
    ),
    _recipe(
        "causal-forcing-framewise",
        CAUSAL_FORCING,
        "framewise/causal_forcing.pt",
        "generator_ema",
        _APACHE,
        "Causal-Forcing, one latent at a time.",
        chunk=1,
        **_ROLLING,
    ),
    _recipe(
        "causal-forcing-2step",
        CAUSAL_FORCING,
        "causal-forcing++/framewise-2step.pt",
        "generator_ema",
        _APACHE,
        "Causal-Forcing++, one latent at a time in two steps, the first in four.",
        chunk=1,
        steps=(1000, 500),
        first_steps=(1000, 750, 500, 250),
        **_ROLLING,
    ),
    _recipe(
        "sgf",
        SGF,
        "chunkwise/ar/model.pt",
        "generator_ema",
        _APACHE,
        "Self Gradient Forcing, three latents at a time.",
        **_SGF,
    ),
    _recipe(
        "sgf-framewise",
        SGF,
        "framewise/ar/model.pt",
        "generator_ema",
        _APACHE,
        "Self Gradient Forcing, one latent at a time.",
        **_SGF_FRAMEWISE,
    ),
    _recipe(
        "sgf-plus",
        SGF_PLUS,
        "chunkwise/model.pt",
        "generator_ema",
        _APACHE,
        "Self Gradient Forcing+, three latents at a time, a second set of weights for what is remembered.",
        **_SGF,
        **_PLUS,
    ),
    _recipe(
        "sgf-plus-framewise",
        SGF_PLUS,
        "framewise/model.pt",
        "generator_ema",
        _APACHE,
        "Self Gradient Forcing+, one latent at a time, a second set of weights for what is remembered.",
        **_SGF_FRAMEWISE,
        **_PLUS,
    ),
)
RELEASED = {recipe.config.name: recipe for recipe in (LONGLIVE_SOURCES, *_RECIPES)}
"""The published models, by name."""
BUILT_IN = {config.name: config for config in (MID_SIZE, *(recipe.config for recipe in RELEASED.values()))}
"""Shapes that need no files at all, for counting and for models with random weights."""
