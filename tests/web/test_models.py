"""Several models on the page and in its API."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from longlive.web.page import build_page
from longlive.web.panels.model_choice import model_abilities
from tests.support.fakes import (
    FakeModels,
    Served,
    make_engine,
    serve_page,
    sized_cards,
    sketches,
    tiny_config,
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    limits = {"no_player_timeout_s": 20, "disconnect_timeout_s": 0.5, "retention_s": 1}
    with serve_page(FakeModels(chunk_s=0.05), others=[sketches()], **limits) as page:
        yield page


def begun(client: Client, *arguments: Any) -> list[str]:
    """The status lines of a video until its first segment; then it is stopped."""
    lines = []
    for output in client.submit(*arguments, api_name="/start"):
        lines.append(output[2])
        if output[0]["kind"] == "segment":
            client.predict(api_name="/stop")
    return lines


def test_a_program_chooses_a_model_or_gets_the_first(served: Served, client: Client) -> None:
    for arguments, model in (
        (("a red ball", 7, []), "test cards"),
        (("a red ball", 7, [], None), "test cards"),
        (("a red ball", 7, [], None, None), "test cards"),
        (("a line", 7, [], None, "sketches"), "sketches"),
    ):
        job = client.submit(*arguments, api_name="/start")
        token = next(iter(job))[0]["token"]
        run = served.engine.find(token)
        assert run is not None and run.model == run.store.facts["model"] == model
        client.predict(api_name="/stop")
    assert httpx.get(f"{served.url}health").json()["models"] == ["test cards", "sketches"]


def test_words_are_those_of_the_model_that_is_asked(client: Client) -> None:
    assert "The sketches model" in begun(client, "a volcano", 7, [], None, "sketches")[0]
    assert "The test cards model" in begun(client, "a volcano", 7, [], None, "test cards")[0]


def test_an_unknown_model_is_told_with_those_that_there_are(client: Client) -> None:
    for name in ("sgf", "x" * 5000, 7):
        with pytest.raises(AppError, match="the models here are test cards, sketches"):
            client.predict("a red ball", 7, [], None, name, api_name="/start")
    with pytest.raises(AppError, match="the models here are test cards, sketches"):
        client.predict({"prompts": ["a ball"]}, 1, 7, None, "sgf", api_name="/generate")


def test_generate_takes_a_model(client: Client) -> None:
    *_, words = client.predict({"prompts": ["a line"]}, 1, 7, None, "sketches", api_name="/generate")
    assert words == "The video is complete. The seed is 7."


def test_what_belongs_to_the_model_follows_the_choice() -> None:
    engine = make_engine(others=[sketches()])
    try:
        page = build_page(engine)
        parts = {getattr(block, "elem_id", None): block for block in page.blocks.values()}
        assert isinstance(parts["model"], gr.Radio) and parts["model"].visible
        (choose,) = [one.fn for one in page.fns.values() if getattr(one.fn, "__name__", "") == "choose"]
        switch, prompt, about, size, *rows = choose("sketches")
        assert (switch["value"], prompt["placeholder"]) == ("keep", "a line")
        assert "A model of sketches. It was not trained to change smoothly" in about["value"]
        assert [row["visible"] for row in rows] == [False, True]
        assert (size["visible"], size["value"]) == (False, "96x64")
        for hostile in ("sgf", None, ["sketches"], {"a": 1}):
            assert [row["visible"] for row in choose(hostile)[4:]] == [True, False]
    finally:
        engine.close()


def test_nothing_is_to_be_chosen_where_there_is_one_model() -> None:
    engine = make_engine()
    try:
        page = build_page(engine)
        parts = {getattr(block, "elem_id", None): block for block in page.blocks.values()}
        assert not parts["model"].visible and "model-about" not in parts
        assert not [one for one in page.fns.values() if getattr(one.fn, "__name__", "") == "choose"]
    finally:
        engine.close()


def test_a_model_says_what_it_was_trained_for() -> None:
    assert model_abilities(tiny_config()) == (
        "It was trained to change smoothly to a new prompt. Its pictures have 96x64 pixels."
    )


def test_the_choice_of_a_size_is_there_where_the_model_has_several() -> None:
    engine = make_engine(sketches(), others=[sized_cards()])
    try:
        page = build_page(engine)
        parts = {getattr(block, "elem_id", None): block for block in page.blocks.values()}
        assert isinstance(parts["size"], gr.Radio) and not parts["size"].visible
        (choose,) = [one.fn for one in page.fns.values() if getattr(one.fn, "__name__", "") == "choose"]
        _, _, about, size, *_ = choose("test cards")
        assert size["choices"] == [("Landscape", "96x64"), ("Portrait", "64x96"), ("Square", "80x80")]
        assert (size["visible"], size["value"]) == (True, "96x64")
        assert size["info"] == "The cards were drawn for 96x64."
        assert "Its pictures have 96x64, 64x96 or 80x80 pixels." in about["value"]
    finally:
        engine.close()


def test_sizes_of_one_shape_are_told_apart_by_their_pixels() -> None:
    models = sized_cards()
    models.config = replace(models.config, sizes=((128, 48), (64, 96)))
    engine = make_engine(models)
    try:
        page = build_page(engine)
        (size,) = [one for one in page.blocks.values() if getattr(one, "elem_id", None) == "size"]
        assert isinstance(size, gr.Radio) and size.visible
        assert [name for name, _ in size.choices] == ["Landscape 96x64", "Landscape 128x48", "Portrait"]
    finally:
        engine.close()
