"""The endpoint that completes prompts: by rules, or by a language model behind an HTTP endpoint."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from gradio_client import Client

from longlive.errors import ConfigError
from longlive.storybook.release import storybook_card
from longlive.training.data.chat_models import EndpointChat
from longlive.web.launch import prompt_writer
from longlive.web.page import build_page, page_options
from tests.support.fakes import FakeModels, make_engine
from tests.support.page_client import PageClient

MEADOW = "a red ball stands on a green meadow"


class Writer(BaseHTTPRequestHandler):
    """A chat endpoint that records what it is asked."""

    asked: list[str] = []
    answer = "a red ball dances on a green meadow"
    status = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body["messages"][0]["content"])
        data = json.dumps({"choices": [{"message": {"content": self.answer}}]}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Writer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["rules", "model"])
def client(
    request: pytest.FixtureRequest, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    monkeypatch.setattr(Writer, "asked", [])
    writer = EndpointChat(endpoint, "small", tries=1) if request.param == "model" else None
    engine = make_engine(FakeModels(card=storybook_card()))
    page = build_page(engine, prompt_writer=writer)
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options())
    client = PageClient(url)
    yield client
    client.close()
    page.close()
    engine.close()


def test_it_knows_the_prompt_of_the_video(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = client.predict("it jumps", api_name="/complete")
    video = client.submit(MEADOW, 7, [], None, api_name="/start")
    next(video)
    answer = client.predict("it hops", api_name="/complete")
    if Writer.asked:
        assert answer == Writer.answer and MEADOW in Writer.asked[-1] and "it hops" in Writer.asked[-1]
        monkeypatch.setattr(Writer, "status", 500)
        answer = client.predict("it hops", api_name="/complete")
    else:
        assert alone == "it jumps", "there is nothing to complete it with"
    assert answer == "a red ball hops on a green meadow"
    client.predict(api_name="/stop")


def test_bad_prompts_are_refused_in_words(client: Client) -> None:
    with pytest.raises(Exception, match="The prompt is empty"):
        client.predict("  ", api_name="/complete")


def test_the_options_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from app import read_options

    options = read_options([])
    assert prompt_writer(options) is None
    options.prompt_endpoint = "http://localhost:1/v1"
    with pytest.raises(ConfigError, match="both are needed"):
        prompt_writer(options)
    options.prompt_model, options.prompt_key_env = "small", "NO_SUCH_KEY"
    with pytest.raises(ConfigError, match="no such variable is set"):
        prompt_writer(options)
    monkeypatch.setenv("NO_SUCH_KEY", "secret")
    writer = prompt_writer(options)
    assert isinstance(writer, EndpointChat) and (writer.model, writer.tries) == ("small", 1)
    options.prompt_endpoint = "ftp://host"
    with pytest.raises(ConfigError, match="http"):
        prompt_writer(options)
