"""Prompts -> tokens for training: in batches, empty ones too, with gradients if they are wanted."""

import torch
from torch import Tensor

from longlive.text import TextEncoder, clean_prompt


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


def same_encoder(one: TextEncoder, other: TextEncoder) -> bool:
    """Whether two encoders give the same tokens: same words, same weights."""
    left, right = one.model.state_dict(), other.model.state_dict()
    return (
        one.text_len == other.text_len
        and one.tokenizer.get_vocab() == other.tokenizer.get_vocab()
        and left.keys() == right.keys()
        and all(torch.equal(value, right[name]) for name, value in left.items())
    )
