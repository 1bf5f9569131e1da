"""The page: player first, then the prompt, then what is left of a story when it has ended."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Route

from longlive.models.model_card import Story
from longlive.serving.engine import Engine
from longlive.web.components import LivePlayer, LiveVideo, StatusLine, Timeline, Words
from longlive.web.endpoints import Endpoints
from longlive.web.middleware.request_filter import RequestFilterMiddleware
from longlive.web.theme import make_theme

KEPT_SESSIONS = 64
"""Gradio keeps a page's last values for so many viewers; nothing here needs them."""
_SWITCHES = [("Turn smoothly", "soft"), ("Cut", "hard"), ("Drift", "keep")]
_SWITCH_HELP = (
    "Smoothly: what was is remembered under the new words. Cut: a new scene. Drift: only the words change."
)
_SEED_HELP = "Same seed, same film. Empty: random."
_SCENE = {"type": "object", "description": 'such as {"at": 4, "text": "the ball jumps", "switch": "soft"}'}
_LATER = {"type": "array", "items": _SCENE}
_STORYBOARD = {"type": "object", "properties": {"prompts": _LATER}, "required": ["prompts"]}
_WELCOME = "Type what you want to see and press Start, or pick a story."
_AS_IT_CAME: dict[str, Any] = {"preprocess": False}  # our checks answer in words, Gradio's with a traceback
_DISPATCH = "() => {{ window.dispatchEvent(new CustomEvent('longlive:{}')); }}"
_MODE_CHANGED = "(mode) => { window.dispatchEvent(new CustomEvent('longlive:mode', { detail: mode })); }"
_PLACE = "() => window.longlivePlace()"
_MODE_OF_BROWSER = """(mode) => {
  const asked = new URLSearchParams(location.search).get('player');
  if (asked) return asked === 'hls' || asked === 'compatible' ? 'compatible' : 'live';
  return window.MediaSource || window.ManagedMediaSource ? mode : 'compatible';
}"""


def build_page(engine: Engine, *, player: str = "live", with_mcp: bool = False) -> gr.Blocks:
    """The page over ``engine``; launch it with ``page_options()``.

    Args:
        engine: makes the videos.
        player: ``live`` or ``compatible``, which a viewer may change.
        with_mcp: leave only the bounded endpoint in the public list, from which MCP takes its tools.
    """
    endpoints = Endpoints(engine)
    with gr.Blocks(title="LongLive", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        with gr.Row(elem_id="top", equal_height=False):
            gr.HTML(
                "<header><h1>LongLive</h1><p>A film that goes on while you tell it.</p></header>",
                elem_id="header",
            )
            StatusLine(engine.status)
        with gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=8, min_width=320, elem_id="theatre"):
                parts = _draw_theatre(endpoints)
            with gr.Column(scale=5, min_width=300, elem_id="controls"):
                parts |= _draw_controls(engine, player)
        with gr.Row(elem_id="keepsakes", equal_height=False):
            parts |= _draw_keepsakes()
        _connect(page, parts, endpoints, "undocumented" if with_mcp else "public")
        _add_generate(endpoints)
        page.unload(endpoints.leave)
    page.queue(default_concurrency_limit=None)
    return page


def page_options(routes: Sequence[Route] = ()) -> dict[str, Any]:
    """What ``launch`` needs beside the page: looks, doors; and no story is kept in a viewer's browser.

    ``routes`` are served before the page's own. No Node server stands before this one, as Spaces would have
    it: that would be one more process between the model and the viewer.
    """
    return {
        "app_kwargs": {"routes": list(routes), "middleware": [Middleware(RequestFilterMiddleware)]},
        "ssr_mode": False,
        "theme": make_theme(),
        "css_paths": [Path(__file__).parent / "style.css"],
        "run_history": False,
        "show_error": True,
        "footer_links": ["api", "gradio", "settings"],
        "max_file_size": "1mb",
        "state_session_capacity": KEPT_SESSIONS,
    }


def _draw_theatre(endpoints: Endpoints) -> dict[str, Any]:
    def playhead(word: dict[str, Any]) -> bool:
        return endpoints.playhead(word)

    def replay_since(word: dict[str, Any]) -> list[dict[str, Any]]:
        return endpoints.replay_since(word)

    def exists(word: dict[str, Any]) -> bool:
        return endpoints.exists(word)

    player = LivePlayer(label="player", elem_id="player", server_functions=[playhead, replay_since, exists])
    with gr.Column(elem_id="compatible"):  # gr.Video itself would lose its elem_id
        compatible = LiveVideo(label="video", show_label=False)
    return {
        "player": player,
        "compatible": compatible,
        "timeline": Timeline(label="timeline", elem_id="timeline"),
    }


def _draw_controls(engine: Engine, player: str) -> dict[str, Any]:
    card = engine.executor.card
    parts = _draw_prompt(card.stories[0].prompts[0][1] if card.stories else "a red ball on a green meadow")
    parts["switch"] = gr.Radio(
        _SWITCHES, value="soft", label="A new prompt", info=_SWITCH_HELP, elem_id="switch"
    )
    parts["later"] = Words([], schema=_LATER, label="later", visible=False)
    parts["stories"] = list(zip(_draw_stories(card.stories), card.stories, strict=True))
    if card.about:
        gr.HTML(f"<p>{escape(card.about)}</p>", elem_id="about")
    with gr.Row(elem_id="options"):
        parts["seed"] = gr.Number(7, label="Seed", info=_SEED_HELP, precision=0, elem_id="seed")
        modes = [("Live", "live"), ("Compatible", "compatible")]
        parts["mode"] = gr.Radio(
            modes, value=player, label="Player", info="Compatible is HLS.", elem_id="player-mode"
        )
    return parts


def _draw_prompt(example: str) -> dict[str, Any]:
    status = gr.HTML(
        _WELCOME,
        label="message",
        elem_id="status",
        html_template="<p>{{value}}</p>",
        js_on_load="element.setAttribute('role', 'status'); element.setAttribute('aria-live', 'polite');",
    )
    prompt = gr.Textbox(
        label="Prompt",
        info="Enter sends it, also while the film runs.",
        placeholder=example,
        elem_id="prompt",
        lines=1,
        max_lines=5,
    )
    with gr.Row(elem_id="actions"):
        start = gr.Button("Start", variant="primary", elem_id="start", min_width=90)
        send = gr.Button("Send", elem_id="send", min_width=90)
        stop = gr.Button("Stop", elem_id="stop", min_width=90)
    return {"status": status, "prompt": prompt, "start": start, "send": send, "stop": stop}


def _draw_stories(stories: tuple[Story, ...]) -> list[gr.Button]:
    with gr.Column(elem_id="examples", visible=bool(stories)):
        gr.HTML("<h2>Stories to begin with</h2>")
        with gr.Row(elem_id="stories"):
            return [
                gr.Button(story.title, size="sm", min_width=60, elem_classes="story") for story in stories
            ]


def _draw_keepsakes() -> dict[str, Any]:
    with gr.Column(scale=8, min_width=320, elem_id="take"):
        take = gr.Video(label="Your film", interactive=False, buttons=["download"])
    with gr.Column(scale=5, min_width=300):
        gr.HTML("<h2>Yours to keep</h2><p>The film, and the session file that can make it again.</p>")
        session_file = gr.DownloadButton("Session file", elem_id="session-file")
    return {"take": take, "session_file": session_file}


def _connect(page: gr.Blocks, parts: dict[str, Any], endpoints: Endpoints, visibility: Any) -> None:
    """What each click, key and message of the player does."""
    player, status, timeline = parts["player"], parts["status"], parts["timeline"]
    told = [parts["prompt"], parts["seed"], parts["later"]]
    story = {"inputs": told, "show_progress": "hidden", **_AS_IT_CAME}
    outputs = [player, timeline, status, parts["take"], parts["session_file"]]
    promise = gr.JSON(label="promise", visible=False)
    player.live(
        endpoints.start,
        **story,
        outputs=outputs,
        trigger_mode="multiple",
        api_name="start",
        api_visibility=visibility,
    )
    player.compatible(
        endpoints.start_compatible,
        **story,
        outputs=[parts["compatible"], *outputs],
        trigger_mode="multiple",
        api_visibility="private",
    )
    _connect_return(parts, endpoints, outputs, visibility)
    player.inject(
        endpoints.prompt,
        **_AS_IT_CAME,
        inputs=[parts["prompt"], parts["switch"]],
        outputs=[promise, status, timeline],
        trigger_mode="multiple",
        show_progress="hidden",
        api_name="prompt",
        api_visibility=visibility,
    )
    parts["stop"].click(
        endpoints.stop, outputs=status, show_progress="hidden", api_name="stop", api_visibility=visibility
    )
    _connect_browser(page, parts)


def _connect_return(parts: dict[str, Any], endpoints: Endpoints, outputs: list[Any], visibility: Any) -> None:
    """How a story goes on after a reload or a lost connection; the player knows where it was."""
    place = [gr.Textbox(label="token", visible=False), gr.Number(0, label="seconds", visible=False)]
    again = {"inputs": place, "js": _PLACE, "show_progress": "hidden", "trigger_mode": "multiple"}
    again |= _AS_IT_CAME
    parts["player"].again(
        endpoints.resume, **again, outputs=outputs, api_name="resume", api_visibility=visibility
    )
    parts["player"].again_compatible(
        endpoints.resume_compatible,
        **again,
        outputs=[parts["compatible"], *outputs],
        api_visibility="private",
    )


def _connect_browser(page: gr.Blocks, parts: dict[str, Any]) -> None:
    """What happens in the browser alone: buttons and keys become the player's events."""
    parts["start"].click(None, js=_DISPATCH.format("start"))
    parts["send"].click(None, js=_DISPATCH.format("enter"))
    parts["prompt"].submit(None, js=_DISPATCH.format("enter"))
    parts["prompt"].input(None, outputs=parts["later"], js="() => []")
    for button, one in parts["stories"]:
        fill = button.click(None, outputs=[parts["prompt"], parts["later"]], js=_fill(one))
        fill.then(None, js=_DISPATCH.format("start"))
    parts["mode"].change(None, inputs=parts["mode"], js=_MODE_CHANGED)
    page.load(None, inputs=parts["mode"], outputs=parts["mode"], js=_MODE_OF_BROWSER)
    page.load(None, inputs=parts["mode"], js=_MODE_CHANGED)


def _fill(story: Story) -> str:
    """JavaScript that gives a story's first prompt and its later ones."""
    later = [{"at": at, "text": text, "switch": "soft"} for at, text in story.prompts[1:]]
    return f"() => {json.dumps([story.prompts[0][1], later])}"


def _add_generate(endpoints: Endpoints) -> None:
    """The endpoint for programs that want a whole video; nothing of it is on the page."""
    storyboard = Words(schema=_STORYBOARD, label="storyboard", visible=False)
    seconds, seed = gr.Number(10, label="seconds", visible=False), gr.Number(7, label="seed", visible=False)
    video, session_file = gr.Video(label="video", visible=False), gr.File(label="session file", visible=False)
    words = gr.Textbox(label="words", visible=False)
    gr.Button(visible=False).click(
        endpoints.generate,
        **_AS_IT_CAME,
        inputs=[storyboard, seconds, seed],
        outputs=[video, session_file, words],
        concurrency_limit=2,
        api_name="generate",
    )
