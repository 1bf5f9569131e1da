"""Which request is what, by its method and path alone."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from longlive.web.middleware.allowed_routes import (
    API,
    GradioApp,
    body_reader,
    check_read,
    is_call,
    is_mcp,
    path_of,
    stream_of,
)


def scope(method: str, path: str, query: str = "", root: str = "") -> dict[str, Any]:
    return {"method": method, "path": path, "query_string": query.encode(), "root_path": root}


def gradio(**page: Any) -> GradioApp:
    blocks = SimpleNamespace(**({"fns": {}, "blocks": {}, "mcp_server": None} | page))
    return GradioApp(SimpleNamespace(get_blocks=lambda: blocks, uploaded_file_dir="/served"))


@pytest.mark.parametrize(
    "path, root, expected",
    [
        ("/videos/config", "/videos", "/config"),
        ("/videosconfig", "/videos", "/videosconfig"),
        ("/a/", "/", "/a/"),
    ],
)
def test_the_path_of_a_proxy_is_left_out(path: str, root: str, expected: str) -> None:
    assert path_of(scope("GET", path, root=root)) == expected


@pytest.mark.parametrize(
    "method, path, query, stream",
    [
        ("GET", f"{API}/queue/data", "session_hash=me", "me"),
        ("GET", f"{API}/call/start/e1", "", "e1"),
        ("GET", f"{API}/call/v2/start/e2", "", "e2"),
        ("POST", f"{API}/call/start/e1", "", None),
        ("GET", f"{API}/call/start", "", None),
        ("GET", "/config", "", None),
    ],
)
def test_streams_are_known_by_their_session_or_call(
    method: str, path: str, query: str, stream: str | None
) -> None:
    assert stream_of(scope(method, path, query)) == stream


def test_calls_and_messages_of_mcp_are_told_apart() -> None:
    assert is_call(scope("POST", f"{API}/queue/join")) and is_call(scope("POST", f"{API}/call/start"))
    assert not is_call(scope("GET", f"{API}/queue/join")) and not is_call(scope("POST", f"{API}/cancel"))
    assert is_mcp(f"{API}/mcp/", gradio(mcp_server=object())) and not is_mcp(f"{API}/mcp/", gradio())


@pytest.mark.parametrize(
    "folder, is_found", [("/served", True), ("/served/../etc", False), ("/other", False)]
)
def test_files_are_read_from_the_served_folder_only(folder: str, is_found: bool) -> None:
    request = scope("GET", f"{API}/file={folder}/{'0' * 64}/longlive.mp4")
    if is_found:
        check_read(request, gradio())
    else:
        with pytest.raises(HTTPException) as error:
            check_read(request, gradio())
        assert error.value.status_code == 404


@pytest.mark.parametrize(
    "path, status", [("/config", 405), (f"{API}/upload", 404), (f"{API}/call/nothing", 404)]
)
def test_what_cannot_be_posted_is_refused(path: str, status: int) -> None:
    with pytest.raises(HTTPException) as error:
        body_reader(path, gradio())
    assert error.value.status_code == status
