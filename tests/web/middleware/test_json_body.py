"""Bodies of requests: which JSON is accepted, and which fields."""

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from longlive.web.middleware.json_body import (
    MAX_DEPTH,
    CallBody,
    CancelBody,
    JoinBody,
    check_body,
    parse_json,
    write_json,
)


@pytest.mark.parametrize("value", [{"data": ["ä", 1, 2.5, None, True, {"meta": 1}]}, [], "text", 2**63 - 1])
def test_plain_json_is_read_as_it_is(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        (f"[{10**400}]", "a number is too large"),
        (f"[{'9' * 5000}]", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "levels"),
        (r'["half: \ud800"]', "surrogate|hex escape"),
        (r'{"\udc00": 1}', "surrogate|hex escape"),
        (
            '{"data": [[{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]]}',
            "Files are not accepted",
        ),
        ('{"path": "https://example.org/a.mp4", "meta": 7}', "Files are not accepted"),
    ],
)
def test_json_that_readers_take_differently_is_refused(text: str, reason: str) -> None:
    with pytest.raises(HTTPException, match=reason):
        parse_json(text.encode())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"data": [NaN]}', {"data": ["nan"]}),
        ("[Infinity, -Infinity, 1e999]", ["inf", "-inf", "inf"]),
        (f"[{2**63}, {-(2**63)}, {2**63 - 1}]", [float(2**63), -float(2**63), 2**63 - 1]),
    ],
)
def test_numbers_that_json_has_not_reach_the_function_as_something_harmless(text: str, value: Any) -> None:
    read = parse_json(text.encode())
    assert read == value and [type(one) for one in read] == [type(one) for one in value]
    assert json.loads(write_json(read)) == value


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(HTTPException, match="not valid JSON"):
        parse_json(b'{"data": ["\xff"]}')


def test_the_deepest_json_is_still_accepted() -> None:
    text = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert write_json(parse_json(text.encode())) == text.encode()


JOIN: dict[str, Any] = {"data": ["ä", None, {"a": None}], "session_hash": "me", "trigger_id": 7}


def test_only_the_fields_of_a_body_are_passed_on() -> None:
    body = check_body(JoinBody, JOIN | {"request": {"username": "root"}, "event_data": 1})
    assert body.model_dump() == JOIN
    assert json.loads(write_json(body.model_dump())) == JOIN


@pytest.mark.parametrize("trigger", [True, "7", 7.0, None, []])
def test_a_trigger_that_is_no_number_is_left_out(trigger: Any) -> None:
    assert check_body(JoinBody, JOIN | {"trigger_id": trigger}).trigger_id is None


@pytest.mark.parametrize("name", ["", "a/b", "a\n", "x" * 65, 7, None, ["me"], "ä"])
def test_names_of_sessions_and_events_have_one_form(name: Any) -> None:
    for model, field in ((JoinBody, "session_hash"), (CancelBody, "event_id")):
        body = {"data": [], "session_hash": "me", "event_id": "it"} | {field: name}
        with pytest.raises(HTTPException, match=f"{field} must be 1 to 64 letters") as error:
            check_body(model, body)
        assert error.value.status_code == 422


@pytest.mark.parametrize("data", [None, "abc", {"0": 1}, 7])
def test_data_must_be_a_list(data: Any) -> None:
    with pytest.raises(HTTPException, match="data must be a list"):
        check_body(CallBody, {"data": data})
