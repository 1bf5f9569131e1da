"""The README's snippets run as they stand, its commands are those of CI, and its front matter fits."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import longlive
from longlive.serving.engine import Engine
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import ThreadExecutor
from longlive.web.page import build_page, page_options
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    engine = Engine(ThreadExecutor(ModelRunner(longlive.load_models("storybook"))))
    page = build_page(engine)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **page_options())
    yield address
    page.close()
    engine.close()


def test_the_snippet_for_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (snippet,) = [text for text in SNIPPETS if "Session(" in text]
    exec(snippet, {})
    assert "(9, 80, 128, 3)" in capsys.readouterr().out
    assert (tmp_path / "story.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ["/start", "/generate"])
def test_the_snippets_for_clients_run(endpoint: str, address: str):
    (snippet,) = [text for text in SNIPPETS if f'api_name="{endpoint}"' in text]
    scope: dict[str, object] = {}
    exec(snippet.replace("http://127.0.0.1:7860", address.rstrip("/")), scope)
    video, session_file = scope["video"], scope["session_file"]
    path = Path(str(video["video"] if isinstance(video, dict) else video))
    assert path.stat().st_size > 10_000
    assert json.loads(Path(str(session_file)).read_text())["prompts"]


def test_ci_finds_the_test_command_that_people_are_told():
    told = re.search(r"<!-- test command -->\n```bash\n(.*?)\n```", README, re.DOTALL)
    assert told is not None and told[1].endswith("python -m pytest")
    assert "<!-- test command -->" in (ROOT / ".ci/run").read_text()


def test_the_front_matter_asks_for_the_gradio_that_is_required():
    version = re.search(r"^sdk_version: (\d+)\.(\d+)", README, re.MULTILINE)
    required = re.search(r"^gradio>=(\d+)\.(\d+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert version is not None and required is not None
    assert version.groups() >= required.groups()
    assert "app_file: app.py" in README and (ROOT / "app.py").is_file()
    assert len(re.search(r"^short_description: (.*)$", README, re.MULTILINE)[1]) <= 60


def test_every_file_that_the_readme_points_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
