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
from schedules_pipeline.errors import (
    InvalidInput,
    ProviderTrouble,
    SchedulesError,
    TooManyFailures,
    Unauthorized,
)

Responses = dict[int | str, dict[str, Any]]

INVALID = 10422
SAY_WHO = {"www-authenticate": "Bearer"}
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


class Nobody(BaseModel):
    """Whoever asks has not said who they are, or not credibly."""

    detail: str


class InvalidBody(BaseModel):
    """What in the request makes no sense, and what to write instead."""

    status_code: int = INVALID
    message: str
    data: None = None


def _documented(model: type[BaseModel], description: str) -> dict[str, Any]:
    return {"model": model, "description": description}


RESPONSES: Responses = {
    401: _documented(Nobody, "No credentials, or not credible ones (with SCHEDULES_AUTH)."),
    403: _documented(ErrorBody, "You may see it, but not do this to it (with SCHEDULES_AUTH)."),
    408: _documented(ErrorBody, "The body took longer than 30 seconds to arrive."),
    413: _documented(ErrorBody, "The body is larger than 1 MiB."),
    422: _documented(InvalidBody, "The request makes no sense; the message names field and fix."),
    429: _documented(ErrorBody, "Wrong credentials again and again; `Retry-After` says when."),
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
    said = isinstance(error, ProviderTrouble) or error.http_status < 500 or error.http_status == 503
    return rendered(error) if said else await _unexpected(request, error)


def rendered(error: SchedulesError) -> Response:
    """One that is written for whoever asked."""
    if isinstance(error, InvalidInput):
        return invalid(str(error))
    if isinstance(error, Unauthorized):
        return JSONResponse({"detail": str(error)}, status_code=401, headers=SAY_WHO)
    if isinstance(error, TooManyFailures):
        return _plain(str(error), 429, {"retry-after": str(error.retry_after_seconds)})
    again = REPEAT_IT if error.http_status in (409, 503) else None
    return _plain(str(error), error.http_status, again)


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
    if place == ["body"] and error["type"] == "unknown_method":
        return f"method: {error['msg']}"
    if place == ["body"]:
        return NOT_JSON
    return f"{'.'.join(place[1:])}: {error['msg'].removeprefix('Value error, ')}"


def invalid(message: str) -> Response:
    """The answer to a request that makes no sense."""
    body = {"status_code": INVALID, "message": speakable(message), "data": None}
    return JSONResponse(body, status_code=422)


def _plain(message: str, status: int, headers: dict[str, str] | None) -> Response:
    return JSONResponse(
        {"message": speakable(message), "code": status, "data": None},
        status_code=status,
        headers=headers,
    )


def speakable(text: str) -> str:
    """Cut to a readable length, in characters that can be encoded."""
    whole = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return whole.encode("utf-8", "backslashreplace").decode()
