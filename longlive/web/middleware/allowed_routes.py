"""Which requests may reach Gradio: the routes that the page needs, and functions that clients may call."""

import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl

from gradio.utils import get_function_params
from starlette.exceptions import HTTPException

from longlive.web.middleware.json_body import (
    CallBody,
    CancelBody,
    ComponentBody,
    JoinBody,
    OperatorBody,
    ProposalBody,
    ResetBody,
    RunBody,
    SessionBody,
    VoteBody,
    check_body,
)

Scope = MutableMapping[str, Any]
Body = dict[str, Any]

API = "/gradio_api"
_NAME = r"[A-Za-z0-9_-]{1,64}"
_READ = re.compile(
    "/|/config/?|/theme\\.css|/robots\\.txt|/manifest\\.json|/favicon\\.ico|/health|/metrics|/live"
    "|/segments|/thumbnails|/video"
    f"|/live/{_NAME}\\.m3u8|/live/{_NAME}/\\d{{1,9}}-[0-9a-f]{{16}}\\.ts"
    f"|/room(/(video|session))?|/watch/{_NAME}(/(live|segments|thumbnails|voice))?"
    "|/watch/assets/[0-9a-f]{16}/[a-z.]{1,40}"
    "|/(assets|static|svelte)/[ -~]{1,200}"
    f"|{API}/(info/?|openapi\\.json|theme\\.css|startup-events|app_id|queue/status)"
    f"|{API}/queue/data|{API}/heartbeat/{_NAME}|{API}/call/(v2/)?{_NAME}/{_NAME}"
    f"|{API}/stream/{_NAME}/{_NAME}/\\d{{1,9}}/(playlist\\.m3u8|{_NAME}\\.ts)"
)
_FILE = re.compile(f"{API}/file=(?P<folder>.+)/[0-9a-f]{{64}}/[^/\\\\\0-\x1f\x7f]{{1,120}}")
_MCP = re.compile(f"{API}/mcp(/.*)?")
_CALL = re.compile(f"{API}/call/({_NAME})/?")
_CALL_BY_NAMES = re.compile(f"{API}/call/v2/({_NAME})/?")
_CALL_STREAM = re.compile(f"{API}/call/(?:v2/)?{_NAME}/({_NAME})")
_ANY_CALL = re.compile(f"{API}/(call|queue/join)")
_WATCHER_CALL = re.compile(f"/watch/{_NAME}/(propose|vote)")
_OPERATOR_CALL = re.compile("/room/operator/[a-z]{1,20}")
_RUN = re.compile(f"{API}/(?:run|api)/({_NAME})/?")


@dataclass(frozen=True)
class GradioApp:
    """Gradio's own app behind the middleware."""

    app: Any

    @property
    def blocks(self) -> Any:
        """The page."""
        return self.app.get_blocks()

    def function(self, number: Any) -> Any:
        """The function of this number.

        Raises:
            HTTPException: 404 if there is none that a client may call.
        """
        found = self.blocks.fns.get(number) if type(number) is int else None
        if found is None or found.fn is None or any(event == "unload" for _, event in found.targets):
            raise _no_function()
        return found

    def named(self, name: str) -> Any:
        """The public or undocumented function of this name.

        Raises:
            HTTPException: 404 if there is none.
        """
        for number, one in self.blocks.fns.items():
            if one.api_name == name and one.api_visibility != "private":
                return self.function(number)
        raise _no_function()


def path_of(scope: Scope) -> str:
    """The path of a request, without the path that a proxy puts before it."""
    root = scope.get("root_path", "").rstrip("/")
    path: str = scope["path"]
    return path[len(root) :] or "/" if root and path.startswith(root + "/") else path


def is_mcp(path: str, gradio: GradioApp) -> bool:
    """Whether the request is for the MCP server, if there is one."""
    return bool(_MCP.fullmatch(path)) and bool(gradio.blocks.mcp_server)


def is_call(scope: Scope) -> bool:
    """Whether the request calls a function whose answer comes as a stream."""
    return scope["method"] == "POST" and bool(_ANY_CALL.match(path_of(scope)))


def may_have_file(scope: Scope) -> bool:
    """Whether the request may carry a file: it calls a function of the page, or of one of its components."""
    return is_call(scope) or path_of(scope).rstrip("/") == f"{API}/component_server"


def is_call_by_names(scope: Scope) -> bool:
    """Whether the request names the parameters of the function that it calls."""
    return bool(_CALL_BY_NAMES.fullmatch(path_of(scope)))


def stream_of(scope: Scope) -> str | None:
    """The session or the call whose stream the request reads, if it reads one."""
    if scope["method"] != "GET":
        return None
    path = path_of(scope)
    if path == f"{API}/queue/data":
        return _query(scope)["session_hash"]
    call = _CALL_STREAM.fullmatch(path)
    return call[1] if call else None


def check_read(scope: Scope, gradio: GradioApp) -> None:
    """Refuse to read what the page does not need.

    Raises:
        HTTPException: 404, or 422 for a stream without a session.
    """
    path = path_of(scope)
    is_inside = ".." not in path.split("/") and "\0" not in path
    if is_inside and (file := _FILE.fullmatch(path)):
        is_inside = PurePath(file["folder"]) == PurePath(gradio.app.uploaded_file_dir)
    elif not _READ.fullmatch(path):
        is_inside = False
    if not is_inside:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    query = _query(scope)
    if query.get("page"):  # Gradio can have several, and breaks at one that there is not
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is only one page.")
    if path == f"{API}/queue/data":
        check_body(SessionBody, query)
    elif path.rstrip("/") == f"{API}/info" and "page" not in query:
        # Without "page", Gradio caches the first answer for everybody, with the host that its client named.
        scope["query_string"] += b"&page="


def body_reader(path: str, gradio: GradioApp) -> Callable[[Body], Body]:
    """The function that checks the body of a POST to ``path`` and returns what may be passed on.

    Raises:
        HTTPException: 404, or 405 for a path that can only be read. The reader itself raises 404 or 422.
    """
    if path in _READERS:
        return lambda body: _READERS[path](body, gradio)
    if call := _CALL_BY_NAMES.fullmatch(path):
        gradio.named(call[1])
        return lambda body: body
    if call := _CALL.fullmatch(path):
        function = gradio.named(call[1])
        return lambda body: _with_data(CallBody, body, function)
    if watcher := _WATCHER_CALL.fullmatch(path):
        model = ProposalBody if watcher[1] == "propose" else VoteBody
        return lambda body: check_body(model, body).model_dump()
    if _OPERATOR_CALL.fullmatch(path):
        return lambda body: check_body(OperatorBody, body).model_dump()
    if (run := _RUN.fullmatch(path)) and not (function := gradio.named(run[1])).queue:
        return lambda body: _with_data(RunBody, body, function)
    if _READ.fullmatch(path):
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
    raise HTTPException(HTTPStatus.NOT_FOUND)


def _read_join(body: Body, gradio: GradioApp) -> Body:
    function = gradio.function(body.get("fn_index"))
    if not function.queue:
        raise _no_function()
    return _with_data(JoinBody, body, function) | {"fn_index": function._id}


def _read_cancel(body: Body, gradio: GradioApp) -> Body:
    number = gradio.function(body.get("fn_index"))._id
    return check_body(CancelBody, body).model_dump() | {"fn_index": number}


def _read_reset(body: Body, gradio: GradioApp) -> Body:
    return check_body(ResetBody, body).model_dump()


def _read_component(body: Body, gradio: GradioApp) -> Body:
    number, name = body.get("component_id"), body.get("fn_name")
    block = gradio.blocks.blocks.get(number) if type(number) is int else None
    if not isinstance(name, str) or not getattr(getattr(block, name, None), "_is_server_fn", False):
        raise _no_function()
    return check_body(ComponentBody, body).model_dump() | {"component_id": number, "fn_name": name}


_READERS: dict[str, Callable[[Body, GradioApp], Body]] = {
    f"{API}/queue/join": _read_join,
    f"{API}/cancel": _read_cancel,
    f"{API}/reset": _read_reset,
    f"{API}/reset/": _read_reset,
    f"{API}/component_server": _read_component,
    f"{API}/component_server/": _read_component,
}


def _with_data(model: type[JoinBody] | type[CallBody] | type[RunBody], body: Body, function: Any) -> Body:
    """A call's body with as many values as its function takes; those that have defaults may be left out."""
    checked = check_body(model, body)
    most = len(function.inputs)
    counts = {sum(not one.skip_api for one in function.inputs)}
    counts |= set(range(most - _num_optional(function), most + 1))
    if len(checked.data) in counts:
        checked.data.extend([None] * (most - len(checked.data)))
    else:
        listed = " or ".join(map(str, sorted(counts)))
        detail = f"data must be a list of {listed} values, not {len(checked.data)}."
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    return checked.model_dump(exclude_unset=True)


def _num_optional(function: Any) -> int:
    """How many of a function's last inputs have None as their default."""
    parameters = get_function_params(function.fn)[: len(function.inputs)]
    return sum(has_default and default is None for _, has_default, default, _ in parameters)


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def _no_function() -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, "There is no such function.")
