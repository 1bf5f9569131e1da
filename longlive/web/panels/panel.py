"""What the panels share: their component in the browser, and what they are given of the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from longlive.web.endpoints.viewer import Endpoints

_WEB = Path(__file__).parents[1]


class PanelView(gr.HTML):
    """A part of the page that its own template and script draw; files lie in ``longlive/web``.

    Scripts run as the body of a function of (element, trigger, props, server, upload, watch), and talk with
    the player and the timeline by events of the window named ``longlive:…``; web/README.md lists them.
    """

    def __init__(
        self,
        template: str,
        scripts: Sequence[str],
        *,
        schema: dict[str, Any] | None = None,
        value: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take gr.HTML's options.

        Args:
            template: file of the HTML.
            scripts: files that run in this order, in one function.
            schema: of the value in the API.
            value: before anything happens.
        """
        self.schema = schema or {"type": "object"}
        kwargs.setdefault("html_template", (_WEB / template).read_text(encoding="utf-8"))
        kwargs.setdefault(
            "js_on_load", "\n".join((_WEB / one).read_text(encoding="utf-8") for one in scripts)
        )
        super().__init__(value, **kwargs)

    def api_info(self) -> dict[str, Any]:
        """The schema of the value in the API."""
        return self.schema

    def example_payload(self) -> Any:
        """Nothing."""
        return None

    def example_value(self) -> Any:
        """Nothing."""
        return None


@dataclass(frozen=True, slots=True)
class PageContext:
    """What a panel may use of the page.

    Attributes:
        endpoints: of the live video.
        parts: components of the page by name: player, timeline, prompt, switch, seed, status, …
        outputs: of /start, for programs: player, timeline, status line, video, session file.
        api_visibility: of endpoints for programs.
    """

    endpoints: Endpoints
    parts: dict[str, Any]
    outputs: list[Any]
    api_visibility: Any

    def add_call(
        self, name: str, function: Callable[..., Any], inputs: list[Any], outputs: list[Any]
    ) -> None:
        """Add an endpoint for programs, which nothing on the page calls."""
        gr.Button(visible=False).click(
            function,
            preprocess=False,  # our own checks explain an error; Gradio's send a traceback
            inputs=inputs,
            outputs=outputs,
            api_name=name,
            api_visibility=self.api_visibility,
        )


@dataclass(frozen=True, slots=True)
class Panel:
    """A tab: its title, the elem_id of what is in it, and what adds that to the page."""

    title: str
    elem_id: str
    add: Callable[[PageContext], None]
