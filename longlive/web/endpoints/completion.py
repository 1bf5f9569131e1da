"""What the page and programs call to have a short prompt made whole."""

import logging

import gradio as gr

from longlive.errors import EndpointError
from longlive.prompts import check_prompt
from longlive.training.data.chat_models import ChatModel
from longlive.training.data.next_scene import THOUGHTS
from longlive.web.endpoints.arguments import read_model, shown_errors
from longlive.web.endpoints.viewer import Endpoints, viewer_of
from longlive.web.prompt_completion import complete_prompt

logger = logging.getLogger(__name__)

RULES = """You help people to steer a video that a text-to-video model makes while they watch. You are given
the prompt in use, if there is one, and what the viewer typed. Write the prompt that the viewer means: one
paragraph that stands alone, in English, with the subject in the same words as in the prompt in use, and with
its place, light and style where the viewer does not change them. Add nothing else that is new. Answer with
the prompt only."""
NOTHING_TO_ADD = "There is nothing to add to this prompt."
NO_ANSWER = "The language model does not answer, so this was done by plain rules."


class CompletionEndpoint:
    """Makes prompts whole, by rules or by a language model that the operator names."""

    def __init__(self, endpoints: Endpoints, writer: ChatModel | None = None) -> None:
        """Complete prompts for the viewers of ``endpoints``; without a writer, by rules."""
        self._endpoints, self._writer = endpoints, writer

    def complete(self, prompt: str, request: gr.Request) -> str:
        """Complete a short prompt: what it leaves out stays as in the prompts of your video so far.

        Args:
            prompt: As it was typed, such as "it jumps".

        Returns:
            the whole prompt, to be read and sent by /start or /prompt; the same where nothing is missing.
        """
        return self._complete(prompt, request)[0]

    def complete_on_page(self, prompt: str, request: gr.Request, model: str | None = None) -> str:
        """Like complete, for ``model`` where no video plays; the page says why nothing was added."""
        completed, warning = self._complete(prompt, request, model)
        if warning or completed == prompt:
            gr.Info(warning or NOTHING_TO_ADD, duration=5)
        return completed

    def _complete(self, prompt: str, request: gr.Request, model: str | None = None) -> tuple[str, str]:
        """The whole prompt, and what the viewer should know of how it was made."""
        stream = self._endpoints.streams.of_viewer(viewer_of(request))
        with shown_errors():
            executor = read_model(stream.run.model if stream else model, self._endpoints.engine.models)
            text = self._endpoints.in_known_words(check_prompt(prompt), executor.config.name)
        earlier = stream.run.prompts.texts if stream else []
        warning = ""
        if self._writer is not None:
            try:
                return self._written(self._writer, text, earlier), ""
            except EndpointError as error:
                logger.warning("a prompt was completed by rules: %s", error)
                warning = NO_ANSWER
        return complete_prompt(text, earlier, executor.card), warning

    def _written(self, writer: ChatModel, text: str, earlier: list[str]) -> str:
        """What the language model writes; the viewer reads it before it is sent."""
        in_use = earlier[-1] if earlier else "none"
        ask = f"{RULES}\n\nThe prompt in use:\n{in_use}\n\nThe viewer typed:\n{text}"
        answer = writer.answer([{"role": "user", "content": ask}], seed=0)
        with shown_errors():
            return check_prompt(THOUGHTS.sub("", answer).strip())
