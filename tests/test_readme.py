"""The READMEs: snippets run, commands parse, paths exist, and the front matter is that of a Space."""

import argparse
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest

import app
import longlive
from longlive.cli.main import main
from longlive.serving.engine import Engine
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import ThreadExecutor
from longlive.web.page import build_page, page_options
from tests.support.paths import ROOT

MAX_LINES = 210
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([ROOT / "README.md", *ROOT.glob("assets/**/*.md"), *ROOT.glob("longlive/**/*.md")])
}
SOURCES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "app.py", *ROOT.glob("tests/**/*"), *ROOT.glob("longlive/**/*")]
]
FENCE = "`" * 3
COMMANDS = "generate|replay|bench|fetch|train|evaluate|merge-lora|prompts|loadtest|measure|space"


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
    assert json.loads((tmp_path / "session.json").read_text())["prompts"]


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


def test_the_readme_is_one_page():
    assert len(README.splitlines()) <= MAX_LINES


def test_ci_runs_the_test_command_of_the_readme():
    command = re.search(r"<!-- test command -->\n```bash\n(.*?)\n```", README, re.DOTALL)
    assert command is not None and command[1].endswith("python -m pytest")
    assert "<!-- test command -->" in (ROOT / ".ci/run").read_text()


def test_the_front_matter_asks_for_the_gradio_that_is_required():
    version = re.search(r"^sdk_version: (\d+)\.(\d+)", README, re.MULTILINE)
    required = re.search(r"^gradio>=(\d+)\.(\d+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert version is not None and required is not None
    assert version.groups() >= required.groups()
    assert "app_file: app.py" in README and (ROOT / "app.py").is_file()
    assert len(re.search(r"^short_description: (.*)$", README, re.MULTILINE)[1]) <= 60


def commands_of(page: str) -> list[list[str]]:
    """Every command of ours in a page, as arguments that begin with ``longlive`` or ``app.py``.

    Commands stand in fenced blocks, where lines are continued and shell variables expanded, and in inline
    code, where the program may be left out (``bench --overlap``).
    """
    found = []
    for block in re.findall(rf"^{FENCE}(?:bash|ini)?\n(.*?)^{FENCE}$", page, re.MULTILINE | re.DOTALL):
        block = block.replace("\\\n", " ")
        assigned = re.findall(r"\b([A-Z])=(?:\"(.*?)\"|([^\s;]+))", block)
        values = {name: quoted or bare for name, quoted, bare in assigned}
        for _ in values:  # a value may use other variables
            block = Template(block).safe_substitute(values)
        found += re.findall(r"(?:-m (longlive)|python (app\.py))(?= )([^#&|`\n]*)", block)
    text = re.sub(rf"^{FENCE}.*?^{FENCE}$", "", page, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`\n]+)`", text):
        found += re.findall(r"^(?:(?:python -m )?(longlive)|(?:python )?(app\.py))(?= )(.*)", code)
        found += [("longlive", "", code)] if re.match(rf"({COMMANDS})( \S+)* -", code) else []
    commands = [[ours or app, *shlex.split(re.sub(r"[][()]", "", rest))] for ours, app, rest in found]
    return [words for words in commands if words[1:] != ["COMMAND"]]


class Parsed(BaseException):
    """The command line is in order; nothing was run."""


@pytest.fixture
def parsing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *given: Any) -> None:
        parse(parser, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)


CASES = [(page, words) for page, text in PAGES.items() for words in commands_of(text)]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The LoRA files that the commands name, which are looked for when the command line is read."""
    monkeypatch.chdir(tmp_path)
    for name in {word.partition("=")[0] for _, words in CASES for word in words if ".safetensors" in word}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


@pytest.mark.parametrize("words", [words for _, words in CASES if words[0] == "app.py"], ids=shlex.join)
@pytest.mark.usefixtures("files")
def test_every_option_of_the_app_parses(words: list[str]):
    app.read_options(words[1:])


@pytest.mark.parametrize("words", [words for _, words in CASES if words[0] == "longlive"], ids=shlex.join)
@pytest.mark.usefixtures("parsing_only", "files")
def test_every_command_parses(capsys: pytest.CaptureFixture[str], words: list[str]):
    with pytest.raises((Parsed, SystemExit)):
        main(words[1:])
    error = capsys.readouterr().err
    if "arguments are required" not in error:
        assert not error
        return
    # A command that is only mentioned (`replay --verify`): its options are those of --help.
    command = list(itertools.takewhile(lambda word: not word.startswith("-"), words[1:]))
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {word for word in words if word.startswith("--")} <= options


def test_the_commands_are_found():
    commands = {shlex.join(words) for _, words in CASES}
    assert len(commands) > 50
    assert {"longlive bench --seconds 60 --overlap", "app.py --executor ray --actors 2"} <= commands, (
        "inline code"
    )
    assert "longlive replay session.json --verify" in commands, "blocks"
    assert any("--set models.teacher=runs/storybook/teacher/model" in one for one in commands), "variables"


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page: str):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!http|#)([^)#\s]+)", PAGES[page])
    missing = [link for link in links if not (folder / link).exists()]
    text = re.sub(r"\]\([^)]*\)", "", PAGES[page])
    rooted = re.findall(r"(?<![\w./-])(?:longlive|tests|assets|\.ci)/[\w./-]*(?![\w./*-])", text)
    missing += [path for path in rooted if not (ROOT / path.rstrip(".")).exists()]
    files = [f"/{path}" for path in SOURCES]
    named = re.findall(r"(?<![\w./-])[\w/]*\w\.(?:py|js|css|html)\b", text)
    missing += [name for name in named if not any(file.endswith(f"/{name}") for file in files)]
    programs = re.findall(r"-m (longlive(?:\.\w+)+)", PAGES[page])
    missing += [name for name in programs if not (ROOT / f"{name.replace('.', '/')}.py").exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_anchor_is_a_heading(page: str):
    for target, anchor in re.findall(r"\]\((?!http)([^)#\s]*)#([^)\s]+)\)", PAGES[page]):
        path = (ROOT / page).parent / target if target else ROOT / page
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert anchor in slugs, f"{target}#{anchor}"
