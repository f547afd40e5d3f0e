"""How errors look on the wire. Texts name the field and the fix, never a path, SQL or a stack."""

from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from schedules_pipeline.api.methods import Methods
from schedules_pipeline.api.request_log import HEADER, request_id
from schedules_pipeline.errors import InvalidInput, SchedulesError

Responses = dict[int | str, dict[str, Any]]

INVALID = 10422
REPEAT_IT = {"retry-after": "1"}
MAX_PROBLEMS = 10
MAX_TEXT = 2_000
NOT_JSON = "body: send one JSON object with the header content-type: application/json"
UNEXPECTED = "Something went wrong here; the server's log says what, under this x-request-id."


class ErrorBody(BaseModel):
    """What went wrong; `code` is the HTTP status."""

    message: str
    code: int
    data: None = None


class InvalidBody(BaseModel):
    """What in the request makes no sense, and what to write instead."""

    status_code: int = INVALID
    message: str
    data: None = None


def _documented(model: type[BaseModel], description: str) -> dict[str, Any]:
    return {"model": model, "description": description}


RESPONSES: Responses = {
    408: _documented(ErrorBody, "The body took longer than 30 seconds to arrive."),
    413: _documented(ErrorBody, "The body is larger than 1 MiB."),
    422: _documented(InvalidBody, "The request makes no sense; the message names field and fix."),
    503: _documented(ErrorBody, "The database is away, busy or not migrated; try again."),
}
BAD_REQUEST: Responses = {
    400: _documented(ErrorBody, "Well-formed, but the present state forbids it.")
}
NOT_FOUND: Responses = {404: _documented(ErrorBody, "There is no such thing.")}
STALE: Responses = {412: _documented(ErrorBody, "`If-Match` names another version.")}
IN_PROGRESS: Responses = {
    409: _documented(ErrorBody, "The first request under this key is being worked on; repeat it.")
}


def add_error_handlers(app: FastAPI) -> None:
    """Make every error leave in the contract's shape."""
    app.add_exception_handler(SchedulesError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, partial(_http, Methods(app)))
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, SchedulesError)
    if isinstance(error, InvalidInput):
        return invalid(str(error))
    if error.http_status >= 500 and error.http_status != 503:
        return await _unexpected(request, error)
    return _plain(str(error), error.http_status)


async def _invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [_problem(each) for each in error.errors()[:MAX_PROBLEMS]]
    return invalid("; ".join(problems))


async def _http(methods: Methods, request: Request, error: Exception) -> Response:
    """FastAPI's own: 404 and 405, as it words them."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405 and (allowed := methods.allowed(request.url.path)):
        headers["Allow"] = allowed
    return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=headers)


async def _unexpected(_request: Request, _error: Exception) -> Response:
    """Starlette raises it again behind us, so the server's log has the whole story."""
    # This answer leaves outside of our own middleware.
    return JSONResponse(
        {"message": UNEXPECTED, "code": 500, "data": None},
        status_code=500,
        headers={HEADER: request_id() or ""},
    )


def _problem(error: dict[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    if place == ["body"]:
        return NOT_JSON
    return f"{'.'.join(place[1:])}: {error['msg'].removeprefix('Value error, ')}"


def invalid(message: str) -> Response:
    """The answer to a request that makes no sense."""
    body = {"status_code": INVALID, "message": _speakable(message), "data": None}
    return JSONResponse(body, status_code=422)


def _plain(message: str, status: int) -> Response:
    return JSONResponse(
        {"message": _speakable(message), "code": status, "data": None},
        status_code=status,
        headers=REPEAT_IT if status in (409, 503) else None,
    )


def _speakable(text: str) -> str:
    """Cut to a readable length, in characters that can be encoded."""
    whole = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return whole.encode("utf-8", "backslashreplace").decode()
