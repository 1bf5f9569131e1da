"""Prompt -> PromptEmbedding, through transformers' UMT5 encoder.

Source: Wan 2.1's text contract: clean, tokenise with special tokens, pad to ``text_len``, encode under the
padding mask, and zero the rows beyond the prompt's own tokens.
"""

import threading
from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import nn
from torch.utils import _pytree as pytree

from longlive.chunks import PromptEmbedding
from longlive.prompts import check_prompt

RECENT_PROMPTS = 32

TextPlacement = Literal["resident", "streamed", "cpu"]
"""Of the weights: on the device; on the CPU, brought to the device block by block; on the CPU."""


class TextEncoder:
    """Reads prompts, and keeps the embeddings of the most recent ones; threads take turns."""

    def __init__(self, tokenizer: Any, model: nn.Module, text_len: int) -> None:
        """Take transformers' fast tokenizer and ``UMT5EncoderModel``, and the tokens of a padded prompt."""
        self.tokenizer = tokenizer
        self.model = model
        self.text_len = text_len
        self.placement: TextPlacement | None = None
        self._recent: OrderedDict[str, PromptEmbedding] = OrderedDict()
        self._lock = threading.Lock()

    def place(self, device: torch.device, placement: TextPlacement) -> None:
        """Say where the weights lie and where prompts are read; a streamed encoder stays so.

        It takes no more of the device than one block, while it reads a prompt.
        """
        with self._lock:
            if self.placement in (placement, "streamed"):
                return
            self.model.to(device if placement == "resident" else "cpu")
            if placement == "streamed":
                encoder: Any = self.model.encoder
                for part in (*encoder.block, encoder.final_layer_norm):
                    _Visit(part, device)
            self.placement = placement

    def encode(self, prompt: str) -> PromptEmbedding:
        """The embedding of a prompt, of the encoder's dtype and on its device.

        Tokens beyond ``text_len`` are left out, and the embedding's ``is_shortened`` says so.

        Raises:
            PromptError: when the prompt cannot be used; see ``check_prompt``.
        """
        text = check_prompt(prompt)
        with self._lock:
            if text not in self._recent:
                self._recent[text] = self._embed(text)
            self._recent.move_to_end(text)
            while len(self._recent) > RECENT_PROMPTS:
                self._recent.popitem(last=False)
            return self._recent[text]

    @torch.no_grad()
    def _embed(self, text: str) -> PromptEmbedding:
        rows = self.tokenizer(
            text,
            padding="max_length",
            truncation=True,
            max_length=self.text_len,
            return_overflowing_tokens=True,
            return_tensors="pt",
        )
        device = next(self.model.parameters()).device
        token_ids, mask = rows["input_ids"][:1].to(device), rows["attention_mask"][:1].to(device)
        hidden = self.model(input_ids=token_ids, attention_mask=mask).last_hidden_state
        tokens = hidden * mask.unsqueeze(-1).to(hidden)
        return PromptEmbedding(text, tokens, is_shortened=len(rows["input_ids"]) > 1)


class _Visit:
    """Brings the weights of a module to a device while it works, and what it is given."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._device = device
        self._at_home: list[tuple[nn.Module, str, nn.Parameter | None]] = []
        module.register_forward_pre_hook(self._begin, with_kwargs=True)
        module.register_forward_hook(self._end, always_call=True)

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        for part in module.modules():
            for name, weight in part._parameters.items():
                if weight is not None:
                    self._at_home.append((part, name, weight))
                    away = weight.data.to(self._device, non_blocking=True)
                    part._parameters[name] = nn.Parameter(away, requires_grad=False)
        return pytree.tree_map_only(torch.Tensor, lambda given: given.to(self._device), (args, kwargs))

    def _end(self, *_: Any) -> None:
        for part, name, weight in self._at_home:
            part._parameters[name] = weight
        self._at_home.clear()
