"""What of the page depends on the model: which one makes the next video, in which size, and its examples.

Where there is one model, nothing can be chosen; a running video keeps the model that it was started with.
"""

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from longlive.config import ModelConfig, Size, SwitchMode, size_text, sizes_text
from longlive.models.model_card import ModelCard, Story
from longlive.serving.executors.executor import Executor
from longlive.serving.served_models import ServedModels

_SHAPES = {1: "Landscape", 0: "Square", -1: "Portrait"}
_EXAMPLE = "a red ball on a green meadow"
_TRAINED: dict[SwitchMode, str] = {
    "soft": "It was trained to change smoothly to a new prompt.",
    "hard": "It was trained to cut to a new prompt.",
    "keep": "It was not trained to change smoothly: a new prompt drifts in, unless you choose otherwise.",
}


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a model, and the button that fills it in.

    Attributes:
        button, story: these.
        switch: how its later prompts come: as the model was made for.
    """

    button: gr.Button
    story: Story
    switch: SwitchMode


class ModelChoice:
    """The radio buttons of the models, with what follows from the choice.

    Attributes:
        radio: the choice; hidden where there is one model. Its value is the name of a model.
        about: the sentence about the chosen model.
        size: the choice of a size; hidden where the chosen model has one. Its value is as ``size_text`` says.
        examples: of all models; those of the chosen one can be seen.
    """

    def __init__(self, models: ServedModels) -> None:
        """Add the radio buttons to the page, and below them what the chosen model can do."""
        self._models = models
        names, self.is_open = list(models), len(models) > 1
        self.radio = gr.Radio(
            names, value=names[0], label="Model of the next video", visible=self.is_open, elem_id="model"
        )
        self.size: gr.Radio | None = None
        self.about: gr.HTML | None = None
        self.examples: list[Example] = []
        self._rows: list[gr.Row] = []
        if self.is_open:
            self.add_about()

    def add_size(self) -> gr.Radio:
        """Add the choice of a size."""
        self.size = gr.Radio(label="Size", elem_id="size", **_sizes(self._models.default))
        return self.size

    def add_about(self) -> None:
        """Add the sentence about the model, if it is not there yet."""
        if self.about is None:
            text = self._about(self._models.default)
            name = "model-about" if self.is_open else "about"
            self.about = gr.HTML(text, elem_id=name, visible=bool(text))

    def add_examples(self) -> None:
        """Add the examples of each model."""
        has_any = any(executor.card.stories for executor in self._models.values())
        with gr.Column(elem_id="examples", visible=has_any):
            gr.HTML("<h2>Examples</h2>")
            for executor in self._models.values():
                is_first = executor is self._models.default
                with gr.Row(elem_classes="example-buttons", visible=is_first) as row:
                    self.examples += [_example(story, executor.config) for story in executor.card.stories]
                self._rows.append(row)

    @property
    def switch(self) -> SwitchMode:
        """How prompts change with the first model, unless the viewer chooses otherwise."""
        return self._models.default.config.switch

    @property
    def first_prompts(self) -> dict[str, str]:
        """By name of the model, the prompt that is suggested where a viewer has typed none."""
        return {name: _first_prompt(executor.card) for name, executor in self._models.items()}

    def connect(self, switch: gr.Radio, prompt: gr.Textbox, options: dict[str, Any]) -> None:
        """Let transition, sizes, examples and the suggested prompt follow the choice.

        Args:
            switch, prompt: of the page.
            options: of the event.
        """
        if self.is_open and self.about is not None and self.size is not None:
            outputs = [switch, prompt, self.about, self.size, *self._rows]
            self.radio.change(self.choose, inputs=self.radio, outputs=outputs, **options)

    def choose(self, name: Any) -> list[dict[str, Any]]:
        """Show what belongs to a model; to the first one for an unknown name."""
        chosen = (
            self._models[name] if isinstance(name, str) and name in self._models else self._models.default
        )
        return [
            gr.update(value=chosen.config.switch),
            gr.update(placeholder=_first_prompt(chosen.card)),
            gr.update(value=self._about(chosen)),
            gr.update(**_sizes(chosen)),
            *(gr.update(visible=executor is chosen) for executor in self._models.values()),
        ]

    def _about(self, executor: Executor) -> str:
        text = executor.card.about
        if self.is_open:
            text = f"{text} {model_abilities(executor.config)}".strip()
        return f"<p>{escape(text)}</p>" if text else ""


def model_abilities(config: ModelConfig) -> str:
    """What a model was trained for, in two sentences."""
    return f"{_TRAINED[config.switch]} Its pictures have {sizes_text(config.all_sizes)} pixels."


def _sizes(executor: Executor) -> dict[str, Any]:
    """The choice of one of a model's sizes, its own first."""
    sizes = executor.config.all_sizes
    return {
        "choices": [(_shape(size, sizes), size_text(size)) for size in sizes],
        "value": size_text(sizes[0]),
        "info": executor.card.about_sizes or None,
        "visible": len(sizes) > 1,
    }


def _shape(size: Size, sizes: tuple[Size, ...]) -> str:
    """What a size is called; with its pixels where several have the same name."""
    names = [_SHAPES[(width > height) - (width < height)] for width, height in sizes]
    name = names[sizes.index(size)]
    return name if names.count(name) == 1 else f"{name} {size_text(size)}"


def _first_prompt(card: ModelCard) -> str:
    return card.stories[0].prompts[0][1] if card.stories else _EXAMPLE


def _example(story: Story, config: ModelConfig) -> Example:
    button = gr.Button(story.title, size="sm", min_width=60, elem_classes="example")
    return Example(button, story, config.switch)
