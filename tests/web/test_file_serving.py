"""What is served lies where nobody else may look, under names that nobody can guess."""

import stat
import tempfile
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from longlive.web.file_serving import serve_from, shown
from longlive.web.page import build_page, page_options
from tests.support.fakes import make_engine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where stories lie: neither in the working nor in the temporary folder."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    stories = tmp_path / "stories"
    stories.mkdir()
    serve_from(stories)
    return stories


def test_a_film_is_shown_under_another_name_each_time_and_outlives_its_story(place: Path) -> None:
    film = place / "longlive.mp4"
    film.write_bytes(b"film")
    first, second = Path(shown(film) or ""), Path(shown(film) or "")
    film.unlink()
    assert first.read_bytes() == second.read_bytes() == b"film" and first != second
    assert first.name == "longlive.mp4" and len(first.parent.name) == 64
    assert shown(None) is None
    for folder in (first.parent, first.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    serve_from(place)
    assert not first.exists(), "what another process left is gone"


def test_a_film_of_another_disk_is_copied(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (place / "longlive.json").write_text("{}")
    assert Path(shown(place / "longlive.json") or "").read_text() == "{}"


def test_films_reach_a_viewer_though_stories_lie_far_from_what_gradio_allows(place: Path) -> None:
    engine = make_engine(folder=place)
    page = build_page(engine)
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options())
    try:
        client = Client(url, verbose=False, download_files=False)
        storyboard = {"prompts": [{"at": 0, "text": "a red ball"}]}
        video, session_file, _ = client.predict(storyboard, 1, 5, api_name="/generate")
        for told in (video.get("video", video), session_file):
            assert Path(told["path"]).is_relative_to(place / "shown")
            assert httpx.get(told["url"]).status_code == 200
        for one in place.rglob("*"):
            answer = httpx.get(f"{url}gradio_api/file={one}")
            assert answer.status_code == 404 or one.is_relative_to(place / "shown"), one
        client.close()
    finally:
        page.close()
        engine.close()
