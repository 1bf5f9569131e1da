"""The page: its parts, and which event calls which endpoint."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Route

from longlive.audience.room import Room
from longlive.serving.engine import Engine
from longlive.training.data.chat_models import ChatModel
from longlive.web.components import LivePlayer, LiveVideo, RawJSON, StartFrom, StatusLine, Timeline
from longlive.web.endpoints.branch import BranchEndpoint
from longlive.web.endpoints.clips import ClipEndpoint
from longlive.web.endpoints.completion import CompletionEndpoint
from longlive.web.endpoints.viewer import Endpoints
from longlive.web.live import live_route
from longlive.web.middleware.request_filter import RequestFilterMiddleware
from longlive.web.panels import compare, memory, room_tab, sessions, storyboard, watching
from longlive.web.panels.model_choice import Example, ModelChoice
from longlive.web.panels.panel import PageContext, Panel, PanelView
from longlive.web.review import review_routes
from longlive.web.theme import make_theme
from longlive.web.watch.hls_routes import hls_routes
from longlive.web.watch.room_routes import room_routes
from longlive.web.watch.routes import watch_routes
from longlive.web.watch.voting import voting_routes

MAX_GRADIO_SESSIONS = 64
"""Gradio keeps the last values of so many pages; nothing here needs them."""
_SWITCHES = [("Smooth", "soft"), ("Cut", "hard"), ("Drift", "keep")]
_SWITCH_HELP = (
    "Smooth: the scene changes into the new one. Cut: a new scene starts. Drift: the scene changes slowly."
)
_SEED_HELP = "The same seed gives the same video. Leave empty for a random one."
_WELCOME = "Type a prompt and press Start, or choose an example."
_STORYBOARD = {"type": "object", "properties": {"prompts": storyboard.ROWS}, "required": ["prompts"]}
_UNCHECKED: dict[str, Any] = {
    "preprocess": False
}  # our own checks explain an error; Gradio's send a traceback
_QUIETLY: dict[str, Any] = _UNCHECKED | {
    "show_progress": "hidden",
    "api_visibility": "private",
    "trigger_mode": "multiple",
}
_DISPATCH = "() => {{ window.dispatchEvent(new CustomEvent('longlive:{}')); }}"
_MODE_CHANGED = "(mode) => { window.dispatchEvent(new CustomEvent('longlive:mode', { detail: mode })); }"
_POSITION = "() => window.longlivePosition()"
_FINISHED = "() => window.longliveFinished()"
_BRANCH = "(token, chunk, ...how) => window.longliveBranch(how)"
_PANELS: tuple[Panel, ...] = (
    Panel("Storyboard", "storyboard", storyboard.add),
    Panel("Compare", "compare", compare.add),
    Panel("Memory", "memory", memory.add),
    Panel("Open and share", "sessions", sessions.add),
    Panel("Watch along", "watching", watching.add),
)
_HERE = Path(__file__).parent
_STATUS = """
element.setAttribute('role', 'status');
element.setAttribute('aria-live', 'polite');
const line = element.querySelector('p');
window.addEventListener('longlive:status', (event) => (line.textContent = event.detail));
"""
_MODE_OF_BROWSER = """(mode) => {
  const asked = new URLSearchParams(location.search).get('player');
  if (asked) return asked === 'hls' || asked === 'compatible' ? 'compatible' : 'live';
  return window.MediaSource || window.ManagedMediaSource ? mode : 'compatible';
}"""


class Page(gr.Blocks):
    """The page, with its endpoints for the routes that are not Gradio's."""

    def __init__(self, endpoints: Endpoints, **kwargs: Any) -> None:
        """Take gr.Blocks' options."""
        super().__init__(**kwargs)
        self.endpoints = endpoints


def build_page(
    engine: Engine,
    *,
    player: str = "live",
    with_mcp: bool = False,
    prompt_writer: ChatModel | None = None,
    room: Room | None = None,
) -> Page:
    """Build the page over ``engine``; launch it with ``page_options()``.

    Args:
        engine: makes the videos.
        player: ``live`` or ``compatible`` (HLS); a viewer can change it.
        with_mcp: leave only /generate in the public API, from which MCP takes its tools.
        prompt_writer: completes viewers' prompts; None: rules do.
        room: has a tab; None: there is no room.
    """
    endpoints = Endpoints(engine)
    if room is not None:
        endpoints.audiences.add(room)
    page = Page(endpoints, title="LongLive", analytics_enabled=False, delete_cache=(3600, 3600))
    with page:
        with gr.Row(elem_id="top", equal_height=False):
            gr.HTML(
                "<header><h1>LongLive</h1><p>A video that you can change while it plays.</p></header>",
                elem_id="header",
            )
            StatusLine(engine.status)
            PanelView("help.html", ["keys.js"], elem_id="help")
        with gr.Row(elem_id="workspace", equal_height=False):
            with gr.Column(scale=8, min_width=320, elem_id="viewing"):
                parts = _add_player(endpoints)
                with gr.Row(elem_id="downloads", equal_height=False):
                    parts |= _add_downloads()
                panels = gr.Column(elem_id="panels", visible=bool(_PANELS))
            with gr.Column(scale=5, min_width=300, elem_id="controls"):
                parts |= _add_controls(engine, player)
        context = _context(endpoints, parts, "undocumented" if with_mcp else "public")
        with panels:
            _add_panels(context, room)
        _connect(page, context)
        _connect_completion(context, CompletionEndpoint(endpoints, prompt_writer))
        _add_generate(ClipEndpoint(engine))
        page.unload(endpoints.leave)
    page.queue(default_concurrency_limit=None)
    return page


def page_options(routes: Sequence[Route] = ()) -> dict[str, Any]:
    """Options for ``launch``: theme, request filter, and no history of runs in the viewer's browser.

    Server-side rendering is off, though Spaces turn it on: its Node process would stand between model and
    viewer.

    Args:
        routes: served before the page's own.
    """
    return {
        "app_kwargs": {
            "routes": [*routes, live_route(), *review_routes(), *_watching_routes()],
            "middleware": [Middleware(RequestFilterMiddleware)],
        },
        "ssr_mode": False,
        "theme": make_theme(),
        "css_paths": [_HERE / "style.css", *sorted(_HERE.glob("panels/*.css"))],
        "run_history": False,
        "show_error": True,
        "footer_links": ["api", "gradio", "settings"],
        "max_file_size": "1mb",
        "state_session_capacity": MAX_GRADIO_SESSIONS,
    }


def _watching_routes() -> list[Route]:
    return [*watch_routes(), *voting_routes(), *room_routes(), *hls_routes()]


def _add_player(endpoints: Endpoints) -> dict[str, Any]:
    """The players and the timeline; the browser calls the server functions by their names."""

    def playhead(report: dict[str, Any]) -> bool:
        return endpoints.playhead(report)

    def replay_since(request: dict[str, Any]) -> list[dict[str, Any]]:
        return endpoints.replay_since(request)

    def exists(request: dict[str, Any]) -> bool:
        return endpoints.exists(request)

    branches = BranchEndpoint(endpoints)

    def forget_take(question: dict[str, Any]) -> dict[str, Any]:
        return branches.forget_on_page(question)

    def kept_takes(question: dict[str, Any]) -> list[str]:
        return branches.kept_on_page(question)

    player = LivePlayer(
        label="player",
        elem_id="player",
        server_functions=[playhead, replay_since, exists],
        size=endpoints.engine.executor.config.size,
    )
    with gr.Column(elem_id="compatible"):  # gr.Video itself would lose its elem_id
        compatible = LiveVideo(label="video", show_label=False)
    return {
        "player": player,
        "compatible": compatible,
        "timeline": Timeline(
            label="timeline", elem_id="timeline", server_functions=[forget_take, kept_takes]
        ),
    }


def _add_controls(engine: Engine, player: str) -> dict[str, Any]:
    choice = ModelChoice(engine.models)
    parts = _add_prompt(choice.first_prompts[engine.executor.config.name])
    parts |= {"choice": choice, "model": choice.radio}
    parts["switch"] = gr.Radio(
        _SWITCHES,
        value=choice.switch,
        label="Transition to a new prompt",
        info=_SWITCH_HELP,
        elem_id="switch",
    )
    parts["size"] = choice.add_size()
    parts["start_from"] = StartFrom(label="begin with", elem_id="start-from")
    choice.add_examples()
    choice.add_about()
    with gr.Row(elem_id="options"):
        parts["seed"] = gr.Number(7, label="Seed", info=_SEED_HELP, precision=0, elem_id="seed")
        modes = [("Live", "live"), ("Compatible", "compatible")]
        parts["mode"] = gr.Radio(
            modes,
            value=player,
            label="Player",
            info="Compatible: if Live does not play.",
            elem_id="player-mode",
        )
    return parts


def _add_prompt(example: str) -> dict[str, Any]:
    status = gr.HTML(
        _WELCOME,
        label="message",
        elem_id="status",
        html_template="<p>{{value}}</p>",
        js_on_load=_STATUS,
    )
    prompt = gr.Textbox(
        label="Prompt",
        info="Press Enter to send it, also while the video plays.",
        placeholder=example,
        elem_id="prompt",
        lines=1,
        max_lines=5,
    )
    with gr.Row(elem_id="actions"):
        start = gr.Button("Start", variant="primary", elem_id="start", min_width=90)
        send = gr.Button("Send", elem_id="send", min_width=90)
        stop = gr.Button("Stop", elem_id="stop", min_width=90)
        complete = gr.Button("Complete prompt", elem_id="complete", min_width=90, size="sm")
    parts = {"status": status, "prompt": prompt, "start": start, "send": send, "stop": stop}
    return parts | {"complete": complete}


def _add_downloads() -> dict[str, Any]:
    with gr.Column(scale=2, min_width=150, elem_id="take"):
        take = gr.Video(label="Your video", interactive=False, buttons=["download"])
    with gr.Column(scale=5, min_width=150):
        gr.HTML(
            "<h2>Download</h2><p>The arrow on the picture saves the video. The session file is small; "
            "<i>Open and share</i> makes the video from it again.</p>"
        )
        session_file = gr.DownloadButton("Session file", elem_id="session-file", size="sm")
    return {"take": take, "session_file": session_file}


def _context(endpoints: Endpoints, parts: dict[str, Any], visibility: Any) -> PageContext:
    outputs = [parts[name] for name in ("player", "timeline", "status", "take", "session_file")]
    return PageContext(endpoints, parts, outputs, visibility)


def _add_panels(context: PageContext, room: Room | None) -> None:
    """Add each panel in a tab of its own; Gradio's tabs would leave out those that are not in sight."""
    panels = [*_PANELS, Panel("Room", "room", partial(room_tab.add, room=room))] if room else _PANELS
    titles = [[panel.elem_id, panel.title] for panel in panels]
    PanelView("panels/tabs.html", ["panels/tabs.js"], value=titles, elem_id="panel-tabs")
    for panel in panels:
        with gr.Column(elem_id=f"{panel.elem_id}-panel"):
            panel.add(context)


def _connect(page: gr.Blocks, context: PageContext) -> None:
    """Connect the events of the player and the buttons with the endpoints, and those with their names."""
    endpoints, parts, outputs = context.endpoints, context.parts, context.outputs
    player, compatible = parts["player"], parts["compatible"]
    request = [parts[name] for name in ("prompt", "seed", "later", "start_from", "model", "size")]
    place = [gr.Textbox(label="token", visible=False), gr.Number(0, label="seconds", visible=False)]
    prompt, scheduled = [parts["prompt"], parts["switch"]], gr.JSON(label="scheduled", visible=False)

    player.start(endpoints.start_on_page, inputs=request, outputs=player, **_QUIETLY)
    player.start_compatible(
        endpoints.start_compatible, inputs=request, outputs=[compatible, player], **_QUIETLY
    )
    resumed = [
        player.resume(endpoints.resume_on_page, inputs=place, outputs=player, js=_POSITION, **_QUIETLY),
        player.resume_compatible(
            endpoints.resume_compatible, inputs=place, outputs=[compatible, player], js=_POSITION, **_QUIETLY
        ),
    ]
    branches = BranchEndpoint(endpoints)
    fork = [place[0], gr.Number(1, label="chunk", visible=False), *prompt, parts["seed"]]
    branched = player.branch(branches.branch_on_page, inputs=fork, outputs=player, js=_BRANCH, **_QUIETLY)
    for asked in (*resumed, branched):
        asked.failure(None, js=_DISPATCH.format("denied"))
    sent = player.prompt(endpoints.prompt_on_page, inputs=prompt, **_QUIETLY)
    sent.failure(None, js=_DISPATCH.format("refused"))
    player.files(endpoints.files, inputs=place[:1], outputs=outputs[3:], js=_FINISHED, **_QUIETLY)
    parts["stop"].click(endpoints.stop_on_page, **_QUIETLY)

    # Programs that name no size get the model's own, whichever model they name.
    size = gr.Textbox(label="size", visible=False)
    context.add_call("start", endpoints.start, [*request[:-1], size], outputs)
    context.add_call("resume", endpoints.resume, place, outputs)
    context.add_call("branch", branches.branch, fork, outputs)
    context.add_call("forget", branches.forget, place[:1], [parts["status"]])
    context.add_call("prompt", endpoints.prompt, prompt, [scheduled, parts["status"], parts["timeline"]])
    context.add_call("stop", endpoints.stop, [], [parts["status"]])
    parts["choice"].connect(parts["switch"], parts["prompt"], _QUIETLY)
    _connect_browser(page, parts)


def _connect_completion(context: PageContext, completion: CompletionEndpoint) -> None:
    prompt, asked = context.parts["prompt"], [context.parts["prompt"], context.parts["model"]]
    context.parts["complete"].click(completion.complete_on_page, inputs=asked, outputs=prompt, **_QUIETLY)
    context.add_call("complete", completion.complete, [prompt], [gr.Textbox(label="prompt", visible=False)])


def _connect_browser(page: gr.Blocks, parts: dict[str, Any]) -> None:
    """Connect what happens in the browser alone: buttons and keys become events of the player."""
    prompt = parts["prompt"]
    choice: ModelChoice = parts["choice"]
    asked = [prompt, choice.radio]
    begin = parts["start"].click(None, inputs=asked, outputs=prompt, js=_or_example(choice.first_prompts))
    begin.then(None, js=_DISPATCH.format("start"))
    parts["send"].click(None, js=_DISPATCH.format("send"))
    prompt.submit(None, js=_DISPATCH.format("send"))
    for example in choice.examples:
        fill = example.button.click(None, outputs=[prompt, parts["later"]], js=_fill(example))
        fill.then(None, js=_DISPATCH.format("start"))
    parts["mode"].change(None, inputs=parts["mode"], js=_MODE_CHANGED)
    page.load(None, inputs=parts["mode"], outputs=parts["mode"], js=_MODE_OF_BROWSER)
    page.load(None, inputs=parts["mode"], js=_MODE_CHANGED)


def _or_example(examples: dict[str, str]) -> str:
    """JavaScript that returns the prompt, or the model's example, which is shown where there is none."""
    return f"(text, model) => text.trim() ? text : {json.dumps(examples)}[model]"


def _fill(example: Example) -> str:
    """JavaScript that returns an example's first prompt and its later ones."""
    (_, first), *others = example.story.prompts
    later = [{"at": at, "text": text, "switch": example.switch} for at, text in others]
    return f"() => {json.dumps([first, later])}"


def _add_generate(clips: ClipEndpoint) -> None:
    """Add the API's endpoint for a whole video; nothing of it is visible on the page."""
    storyboard = RawJSON(schema=_STORYBOARD, label="storyboard", visible=False)
    seconds, seed = gr.Number(10, label="seconds", visible=False), gr.Number(7, label="seed", visible=False)
    video, session_file = gr.Video(label="video", visible=False), gr.File(label="session file", visible=False)
    start_from, message = StartFrom(visible=False), gr.Textbox(label="message", visible=False)
    model, size = (gr.Textbox(label=name, visible=False) for name in ("model", "size"))
    gr.Button(visible=False).click(
        clips.generate,
        **_UNCHECKED,
        inputs=[storyboard, seconds, seed, start_from, model, size],
        outputs=[video, session_file, message],
        concurrency_limit=2,
        api_name="generate",
    )
