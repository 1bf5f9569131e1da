"""Downloads are served from a private folder, under names that nobody can guess."""

import stat
import tempfile
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from longlive.web.file_serving import publish_file, serve_from
from longlive.web.page import build_page, page_options
from tests.support.fakes import make_engine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that is neither in the working nor in the temporary folder."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    store = tmp_path / "store"
    store.mkdir()
    serve_from(store)
    return store


def test_a_file_is_published_under_a_new_name_each_time_and_outlives_its_run(place: Path) -> None:
    video = place / "longlive.mp4"
    video.write_bytes(b"video")
    first, second = Path(publish_file(video) or ""), Path(publish_file(video) or "")
    video.unlink()
    assert first.read_bytes() == second.read_bytes() == b"video" and first != second
    assert first.name == "longlive.mp4" and len(first.parent.name) == 64
    assert publish_file(None) is None
    for folder in (first.parent, first.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    serve_from(place)
    assert not first.exists(), "files of an earlier process are gone"


def test_a_file_on_another_disk_is_copied(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (place / "longlive.json").write_text("{}")
    assert Path(publish_file(place / "longlive.json") or "").read_text() == "{}"


def test_files_reach_a_viewer_though_the_store_is_outside_of_what_gradio_allows(place: Path) -> None:
    engine = make_engine(folder=place)
    page = build_page(engine)
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options())
    try:
        client = Client(url, verbose=False, download_files=False)
        storyboard = {"prompts": [{"at": 0, "text": "a red ball"}]}
        video, session_file, _ = client.predict(storyboard, 1, 5, api_name="/generate")
        for file in (video.get("video", video), session_file):
            assert Path(file["path"]).is_relative_to(place / "shown")
            assert httpx.get(file["url"]).status_code == 200
        for one in place.rglob("*"):
            answer = httpx.get(f"{url}gradio_api/file={one}")
            assert answer.status_code == 404 or one.is_relative_to(place / "shown"), one
        client.close()
    finally:
        page.close()
        engine.close()
