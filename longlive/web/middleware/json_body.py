"""Bodies of requests: strict JSON, and a pydantic model for each kind of call.

Only what the models name is passed on to Gradio. Anything that JSON readers may take differently, or that
names a file, is refused.
"""

import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

MAX_DEPTH = 24
MAX_FILE_BYTES = 3_000_000
"""Of a file that a call brings: what a video begins with, or a session file."""
MAX_DATA_URL_BYTES = 4 * (MAX_FILE_BYTES // 3 + 1) + 100
MAX_INTEGER = 2**63 - 1

_DATA_URL = re.compile(rb'"data:[^"\\]*"')

_JSON: TypeAdapter[Any] = TypeAdapter(Any)

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""A session or an event, as Gradio's clients write it."""


def _int_or_none(value: Any) -> int | None:
    return value if type(value) is int else None


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class SessionBody(_Body):
    """Whatever belongs to one client's session."""

    session_hash: Name


class JoinBody(SessionBody):
    """``POST /queue/join``: a call of the page; its function is checked apart."""

    data: list[Any]
    trigger_id: Annotated[int | None, BeforeValidator(_int_or_none)] = None


class CallBody(_Body):
    """``POST /call/NAME``: a call of a program."""

    data: list[Any]
    session_hash: Name | None = None


class RunBody(SessionBody):
    """``POST /run/NAME``: a call that is answered at once."""

    data: list[Any]


class ResetBody(_Body):
    """``POST /reset``: forget an event."""

    event_id: Name


class CancelBody(SessionBody, ResetBody):
    """``POST /cancel``: stop an event."""


class ComponentBody(SessionBody):
    """``POST /component_server``: a call of a component's server function, which is checked apart."""

    data: Any = None


class ProposalBody(_Body):
    """``POST /watch/ID/propose``: a prompt that somebody proposes who watches along."""

    text: str


class VoteBody(_Body):
    """``POST /watch/ID/vote``: the number of a proposal."""

    number: int


class OperatorBody(_Body):
    """``POST /room/operator/ACTION``: what the operator of the room does, with the number of a proposal."""

    number: int | None = None


_RULES = {"data": "a list", "text": "text", "number": "a whole number"}

AnyBody = TypeVar("AnyBody", bound=_Body)


def parse_json(content: bytes) -> Any:
    """The value of a JSON text that every reader takes the same way and that names no file.

    What some clients send though JSON has no such numbers becomes something harmless, so that the function
    that is called can say what it wants instead: NaN and infinities their names as text, and integers beyond
    64 bits floats, as JavaScript reads them.

    Raises:
        HTTPException: 400 for invalid JSON (lone surrogates included), integers beyond floats, more than
            ``MAX_DEPTH`` levels, and Gradio's description of a file, since the page takes none.
    """
    try:
        value = _JSON.validate_json(content)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0].get("ctx", {}).get("error", "")
        raise _bad_request(f"This is not valid JSON: {reason}.") from None
    return _plain(value, 0)


def file_bytes(content: bytes | bytearray) -> int:
    """Length of the longest data URL in a JSON text, which is not parsed for it; 0 if there is none."""
    return max((len(found[0]) for found in _DATA_URL.finditer(content)), default=0)


def write_json(value: Any) -> bytes:
    """A value that ``parse_json`` gave, or a part of it, as JSON."""
    return _JSON.dump_json(value)


def check_body(model: type[AnyBody], body: Mapping[str, Any]) -> AnyBody:
    """The fields of ``model`` in a body.

    Raises:
        HTTPException: 422, naming the first field that is missing or wrong.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        field = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
        rule = _RULES.get(field, "1 to 64 letters, digits, _ or -")
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field} must be {rule}.") from None


def _plain(part: Any, depth: int) -> Any:
    """A part of a value, at its depth, with plain numbers; HTTPException if it is not accepted."""
    if depth > MAX_DEPTH:
        raise _bad_request(f"At most {MAX_DEPTH} levels of lists and objects are accepted.")
    if isinstance(part, dict):
        if part.keys() >= {"path", "meta"}:
            raise _bad_request("Files are not accepted.")
        return {name: _plain(one, depth + 1) for name, one in part.items()}
    if isinstance(part, list):
        return [_plain(one, depth + 1) for one in part]
    if isinstance(part, float) and not math.isfinite(part):
        return str(part)
    if type(part) is int and abs(part) > MAX_INTEGER:
        return _as_float(part)
    return part


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        raise _bad_request("This is not valid JSON here: a number is too large.") from None


def _bad_request(detail: str) -> HTTPException:
    return HTTPException(HTTPStatus.BAD_REQUEST, detail)
