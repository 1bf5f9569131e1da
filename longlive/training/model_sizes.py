"""The shapes of the models that a training run holds, without loading them."""

import dataclasses

from longlive.config import ModelConfig, TransformerConfig
from longlive.training.recipe import LearnerOptions
from longlive.weights.loading import read_config
from longlive.weights.registry import find_model
from longlive.weights.released import LONGLIVE_1_3B

WAN_14B = dataclasses.replace(
    LONGLIVE_1_3B,
    name="wan-2.1-14b",
    transformer=dataclasses.replace(
        LONGLIVE_1_3B.transformer, num_attention_heads=40, ffn_dim=13824, num_layers=40
    ),
)
"""The paper's teacher; source: Wan 2.1 T2V 14B."""


WAN_1_3B = dataclasses.replace(LONGLIVE_1_3B, name="wan-2.1-1.3b")


KNOWN = {config.name: config for config in (LONGLIVE_1_3B, WAN_1_3B, WAN_14B)}


Trio = dict[str, tuple[TransformerConfig, LearnerOptions | None]]
"""Each model's shape, and how it is trained; None if it is not."""


def config_of(name: str) -> ModelConfig:
    """The facts of a model; those of the paper's need no files."""
    return KNOWN[name] if name in KNOWN else read_config(find_model(name))
