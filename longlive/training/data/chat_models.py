"""Language models that answer chat messages: behind an OpenAI-compatible endpoint, or on this machine."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from longlive.errors import CheckpointError, ConfigError, EndpointError

MAX_TOKENS = 400
TEMPERATURE = 0.7
TRIES = 5
MAX_PAUSE_S = 60.0

Messages = list[dict[str, str]]


class ChatModel(Protocol):
    """Answers messages of the roles system, user and assistant; the seed makes answers repeatable."""

    def answer(self, messages: Messages, seed: int) -> str:
        """The text of the answer."""
        ...


class EndpointChat:
    """Chat completions over HTTP; may be called from several threads at once.

    Too many requests (429), server errors (5xx), timeouts and lost connections are retried, after a pause
    that doubles or that the server asks for (``Retry-After``).
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        timeout_s: float = 120.0,
        pause_s: float = 1.0,
        tries: int = TRIES,
    ) -> None:
        """Configure the client.

        Args:
            url: base address, such as ``http://localhost:8000/v1``.
            model: its name at the endpoint.
            key: API key, if the endpoint needs one.
            timeout_s: of a request.
            pause_s: before the first retry.
            tries: of an answer, at least 1.

        Raises:
            ConfigError: if the address is not http(s).
        """
        import httpx

        self.url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        if httpx.URL(self.url).scheme not in ("http", "https") or not httpx.URL(self.url).host:
            raise ConfigError(
                "--endpoint", url, "it must be an http(s) address", "Try http://localhost:8000/v1."
            )
        self.model, self.pause_s, self.tries = model, pause_s, tries
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers)

    def answer(self, messages: Messages, seed: int) -> str:
        """The text of the answer.

        Raises:
            EndpointError: if the endpoint refuses, fails ``tries`` times, or sends no chat completion.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "seed": seed,
            "temperature": TEMPERATURE,
            "max_tokens": MAX_TOKENS,
        }
        fault = ""
        for number in range(self.tries):
            reply = self._request(body)
            if isinstance(reply, str):
                return reply
            fault = reply.fault
            if number < self.tries - 1:
                time.sleep(min(reply.pause_s or self.pause_s * 2**number, MAX_PAUSE_S))
        raise EndpointError(
            f"{self.url} gave no answer in {self.tries} tries, at last: {fault}. What was written stays; "
            "run the same command again once it is up."
        )

    def _request(self, body: dict[str, Any]) -> "str | _Retry":
        import httpx

        try:
            reply = self._client.post(self.url, json=body)
        except httpx.TransportError as error:
            return _Retry(f"{type(error).__name__} ({error})")
        status = f"{reply.status_code} {reply.reason_phrase}: {reply.text[:200]!r}"
        if reply.status_code == 429 or reply.status_code >= 500:
            seconds = reply.headers.get("Retry-After", "")
            return _Retry(status, float(seconds) if seconds.isdecimal() else 0.0)
        if reply.status_code != 200:
            raise EndpointError(f"{self.url} refuses: {status}. Check the address, the model and the key.")
        try:
            return str(reply.json()["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(
                f"{self.url} does not speak the protocol of chat completions: {reply.text[:200]!r} came. "
                "Check the address; it often ends with /v1."
            ) from error


@dataclass(frozen=True)
class _Retry:
    """Why a request is retried, and the pause that the server asks for (0: none)."""

    fault: str
    pause_s: float = 0.0


class LocalChat:
    """A text generation model of transformers on this machine; not safe to call from several threads."""

    def __init__(self, model: str | Path) -> None:
        """Load a model from a folder or the Hub.

        Raises:
            CheckpointError: if there is no such model, or it does not generate text.
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
        """The text of the answer; a model without a chat template continues the text of the messages."""
        import torch

        prompt: Messages | str = messages
        if not self._generate.tokenizer.chat_template:
            prompt = "\n\n".join(message["content"] for message in messages) + "\n\n"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            written = self._generate(
                prompt,
                max_new_tokens=MAX_TOKENS,
                do_sample=True,
                temperature=TEMPERATURE,
                return_full_text=False,
            )
        return str(written[0]["generated_text"])
