"""CLIP scores of pictures and prompts, by any CLIPModel; how they are computed is said in the result."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from longlive.errors import CheckpointError

PINNED = ("openai/clip-vit-base-patch32", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268")
"""The model and its revision on the Hub, unless another is asked for."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""By which CLIP's authors normalise the channels of a picture in [0, 1]."""
PICTURES_PER_SECOND = 2.0
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")

DEFINITIONS = {
    "clip_score": (
        f"100 times the cosine of the embeddings of picture and prompt; {PICTURES_PER_SECOND:g} "
        f"pictures a second "
        "of a segment, mean over the pictures, then over the stories. The paper does not define its own."
    ),
    "clip_pictures": (
        "The shorter side resized to the model's size (bicubic, antialiased), its middle cut out, in [0, 1], "
        f"less {MEAN}, by {STD}."
    ),
    "clip_prompts": (
        "As they stand. One of more tokens than CLIP reads (77 for OpenAI's) is divided at its "
        "sentences into "
        "parts that fit, and its embedding is the mean of the parts' unit vectors; a sentence that is "
        "too long by "
        "itself is cut. clip_model.divided_prompts counts them."
    ),
}


class ClipScorer:
    """A CLIP model; prompts are embedded once."""

    def __init__(self, name: str, revision: str | None, device: str = "cpu") -> None:
        """Load a folder, or a model of the Hub at a revision.

        Raises:
            CheckpointError: if it cannot be had.
        """
        from transformers import AutoTokenizer, CLIPModel

        try:
            given: dict[str, Any] = {} if Path(name).is_dir() else {"revision": revision}
            self._model = CLIPModel.from_pretrained(name, **given).eval().requires_grad_(False).to(device)
            self._tokenizer = AutoTokenizer.from_pretrained(name, **given)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"The CLIP model {name} cannot be had: {' '.join(str(error).split())[:200]}. Fetch "
                f"{PINNED[0]} at "
                f"revision {PINNED[1]} on a machine with a network, and give its folder as --clip."
            ) from error
        self._size = int(self._model.config.vision_config.image_size)
        self._most = int(self._model.config.text_config.max_position_embeddings)
        self._embeddings: dict[str, Tensor] = {}
        self._name, self._revision = name, given.get("revision")

    def facts(self, prompts: Iterable[str]) -> dict[str, Any]:
        """What is computed with, for the result, and how many of these prompts are too long for it."""
        digest = hashlib.sha256()
        for tensor_name, tensor in sorted(self._model.state_dict().items()):
            digest.update(tensor_name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return {
            "name": self._name,
            "revision": self._revision,
            "weights_sha256": digest.hexdigest(),
            "picture_size": self._size,
            "tokens": self._most,
            "divided_prompts": sum(self._length(prompt) > self._most for prompt in set(prompts)),
        }

    @torch.no_grad()
    def score(self, pictures: Tensor, prompt: str) -> float:
        """The mean score of pictures, uint8 (F, 3, H, W), for a prompt: -100 to 100."""
        values = functional.interpolate(
            pictures.float() / 255,
            self._resized(pictures),
            mode="bicubic",
            antialias=True,
            align_corners=False,
        ).clamp(0, 1)
        top, left = ((side - self._size) // 2 for side in values.shape[-2:])
        values = values[..., top : top + self._size, left : left + self._size]
        mean, std = (torch.tensor(channel).view(3, 1, 1) for channel in (MEAN, STD))
        seen = self._model.vision_model(
            pixel_values=((values - mean) / std).to(self._model.device)
        ).pooler_output
        seen = functional.normalize(self._model.visual_projection(seen), dim=-1)
        return 100 * float((seen @ self._embedding(prompt)).mean())

    def _resized(self, pictures: Tensor) -> tuple[int, int]:
        height, width = pictures.shape[-2:]
        scale = self._size / min(height, width)
        return max(self._size, round(height * scale)), max(self._size, round(width * scale))

    def _embedding(self, prompt: str) -> Tensor:
        if prompt not in self._embeddings:
            parts = self._parts(prompt)
            found = self._tokenizer(
                parts, return_tensors="pt", padding=True, truncation=True, max_length=self._most
            ).to(self._model.device)
            read = self._model.text_model(found.input_ids, attention_mask=found.attention_mask).pooler_output
            units = functional.normalize(self._model.text_projection(read), dim=-1)
            self._embeddings[prompt] = functional.normalize(units.mean(0), dim=-1)
        return self._embeddings[prompt]

    def _parts(self, prompt: str) -> Sequence[str]:
        """The prompt, divided at its sentences into parts that the model can read."""
        if self._length(prompt) <= self._most:
            return [prompt]
        parts: list[str] = []
        for sentence in _SENTENCE.split(prompt):
            joined = f"{parts[-1]} {sentence}" if parts else sentence
            if parts and self._length(joined) <= self._most:
                parts[-1] = joined
            else:
                parts.append(sentence)
        return parts

    def _length(self, text: str) -> int:
        return len(self._tokenizer(text)["input_ids"])
