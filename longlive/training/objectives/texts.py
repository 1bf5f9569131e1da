"""Prompts -> tokens for training: in batches, empty ones too, with gradients if they are wanted."""

import filecmp
from pathlib import Path

from torch import Tensor

from longlive.models.text_encoder import TextEncoder
from longlive.prompts import clean_prompt


def read_texts(encoder: TextEncoder, prompts: list[str]) -> Tensor:
    """Tokens (B, text_len, text_dim) as ``TextEncoder.encode`` gives them; gradients, if they are enabled.

    Args:
        prompts: as checked by their readers; an empty one is what guidance leads away from.
    """
    rows = encoder.tokenizer(
        [clean_prompt(prompt) for prompt in prompts],
        padding="max_length",
        truncation=True,
        max_length=encoder.text_len,
        return_tensors="pt",
    )
    device = next(encoder.model.parameters()).device
    mask = rows["attention_mask"].to(device)
    hidden = encoder.model(input_ids=rows["input_ids"].to(device), attention_mask=mask).last_hidden_state
    return hidden * mask.unsqueeze(-1).to(hidden.dtype)


def has_same_encoder(one: Path, other: Path) -> bool:
    """Whether two models' folders hold the same tokenizer and text encoder, byte for byte."""
    files = [
        path.relative_to(one) for part in ("tokenizer", "text_encoder") for path in (one / part).glob("*.*")
    ]
    return all(
        (other / file).is_file() and filecmp.cmp(one / file, other / file, shallow=False) for file in files
    )
