"""Language models that answer a short talk: behind an OpenAI-compatible endpoint, or on this machine."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from longlive.errors import CheckpointError, ConfigError, EndpointError

MOST_TOKENS = 400
TEMPERATURE = 0.7
TRIES = 5
LONGEST_PAUSE_S = 60.0

Messages = list[dict[str, str]]


class SceneWriter(Protocol):
    """Answers messages of the roles system, user and assistant; the same seed may give the same answer."""

    def answer(self, messages: Messages, seed: int) -> str:
        """The model's words."""
        ...


class EndpointWriter:
    """Chat completions over HTTP; may be asked from several threads at once.

    Too many requests (429), faults of the server (5xx), silence and lost connections are tried again, after a
    pause that doubles or that the server names.
    """

    def __init__(
        self, url: str, model: str, *, key: str = "", timeout_s: float = 120.0, pause_s: float = 1.0
    ) -> None:
        """Take the base address (``http://localhost:8000/v1``), the model's name there and the key, if any.

        Raises:
            ConfigError: if the address is none.
        """
        import httpx

        self.url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        if httpx.URL(self.url).scheme not in ("http", "https") or not httpx.URL(self.url).host:
            raise ConfigError(
                "--endpoint", url, "it must be an http(s) address", "Try http://localhost:8000/v1."
            )
        self.model, self.pause_s = model, pause_s
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers)

    def answer(self, messages: Messages, seed: int) -> str:
        """The model's words.

        Raises:
            EndpointError: when the endpoint refuses, does not answer for ``TRIES`` times, or talks nonsense.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "seed": seed,
            "temperature": TEMPERATURE,
            "max_tokens": MOST_TOKENS,
        }
        fault = ""
        for number in range(TRIES):
            reply = self._reply_to(body)
            if isinstance(reply, str):
                return reply
            fault = reply.fault
            if number < TRIES - 1:
                time.sleep(min(reply.pause_s or self.pause_s * 2**number, LONGEST_PAUSE_S))
        raise EndpointError(
            f"{self.url} gave no answer in {TRIES} tries, at last: {fault}. What was written stays; "
            "run the same command again once it is up."
        )

    def _reply_to(self, body: dict[str, Any]) -> "str | _Later":
        import httpx

        try:
            reply = self._client.post(self.url, json=body)
        except httpx.TransportError as error:
            return _Later(f"{type(error).__name__} ({error})")
        told = f"{reply.status_code} {reply.reason_phrase}: {reply.text[:200]!r}"
        if reply.status_code == 429 or reply.status_code >= 500:
            seconds = reply.headers.get("Retry-After", "")
            return _Later(told, float(seconds) if seconds.isdecimal() else 0.0)
        if reply.status_code != 200:
            raise EndpointError(f"{self.url} refuses: {told}. Check the address, the model and the key.")
        try:
            return str(reply.json()["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(
                f"{self.url} does not speak the protocol of chat completions: {reply.text[:200]!r} came. "
                "Check the address; it often ends with /v1."
            ) from error


@dataclass(frozen=True)
class _Later:
    """Why another try may do, and the pause that the server asks for (0: none)."""

    fault: str
    pause_s: float = 0.0


class LocalWriter:
    """A model of transformers' text generation on this machine; not to be asked from two threads at once."""

    def __init__(self, model: str | Path) -> None:
        """Take a folder, or the name of a model on the Hub.

        Raises:
            CheckpointError: when there is no such model, or it writes no text.
        """
        from transformers import pipeline

        try:
            self._generate: Any = pipeline("text-generation", model=str(model))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{model} cannot be loaded for text generation ({error}). Give the folder or the Hub id of a "
                "language model."
            ) from error

    def answer(self, messages: Messages, seed: int) -> str:
        """The model's words; a model without a chat template continues the plain text of the messages."""
        import torch

        talk: Messages | str = messages
        if not self._generate.tokenizer.chat_template:
            talk = "\n\n".join(message["content"] for message in messages) + "\n\n"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            written = self._generate(
                talk,
                max_new_tokens=MOST_TOKENS,
                do_sample=True,
                temperature=TEMPERATURE,
                return_full_text=False,
            )
        return str(written[0]["generated_text"])
