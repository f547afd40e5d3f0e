"""Routes that do more than call their function: POSTs happen once per Idempotency-Key, and a
schedule's answer carries its version as ETag.
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import to_json

from schedules_pipeline.api.dependencies import Caller, UseCases
from schedules_pipeline.api.errors import IN_PROGRESS
from schedules_pipeline.api.links import FROM_A_SCHEDULE
from schedules_pipeline.api.schemas import Schedule
from schedules_pipeline.services.access_port import creator_of
from schedules_pipeline.services.once import Attempt, answer_once, do_once
from schedules_pipeline.services.store_port import Store
from schedules_pipeline.services.stored import Answer

Endpoint = Callable[..., Any]

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Repeated within 24 hours with the same bytes, the request is answered as the "
        "first time and does nothing more. With other bytes it is refused.",
        examples=["7f9c24e8-3b12-4fef-91e0-5a2d3c0b9f11"],
    ),
]
WITH_ETAG = {
    200: {
        "headers": {"ETag": {"schema": {"type": "string"}, "description": "The `version`."}},
        "links": FROM_A_SCHEDULE,
    }
}


async def attempt_of(request: Request, caller: Caller, key: Key = None) -> Attempt | None:
    """The request under its key, if it has one."""
    if key is None:
        return None
    asked = [request.method, request.url.path, request.url.query]
    body = await request.body()
    fingerprint = hashlib.sha256(json.dumps(asked).encode() + body).hexdigest()
    # A provider may say something else of the same principal each time, such as when it logged in.
    who = creator_of(caller) or caller
    whose = hashlib.sha256(json.dumps(who, sort_keys=True).encode()).hexdigest()
    return Attempt(scope=whose, key=key, fingerprint=fingerprint)


class Route(APIRoute):
    """Its function is called as if it stood alone; see the module."""

    once = staticmethod(do_once)

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        """As FastAPI's. An application makes a router's routes anew from their functions."""
        if not hasattr(endpoint, "__wrapped__"):
            posts = "POST" in (options.get("methods") or ())
            shows = _shows_a_schedule(endpoint)
            more = (WITH_ETAG if shows else {}) | (IN_PROGRESS if posts else {})
            options["responses"] = more | (options.get("responses") or {})
            endpoint = _wrapped(endpoint, type(self).once, posts=posts)
        super().__init__(path, endpoint, **options)


class RepeatableRoute(Route):
    """For work in many transactions that does no harm when it happens twice."""

    once = staticmethod(answer_once)


def _shows_a_schedule(endpoint: Endpoint) -> bool:
    shown = inspect.signature(endpoint).return_annotation
    return isinstance(shown, type) and issubclass(shown, Schedule)


def _wrapped(
    endpoint: Endpoint, once: Callable[[Store, Attempt, Any], Answer], *, posts: bool
) -> Endpoint:
    """The function, with what it does not need to know of taken care of."""

    @functools.wraps(endpoint)
    def route(*, attempt: Attempt | None = None, **given: Any) -> Response:
        if attempt is None:
            shown = endpoint(**given)
            return _response(200, _etag(shown), to_json(shown))
        use: UseCases = given["use"]

        def act(store: Store) -> Answer:
            shown = endpoint(**{**given, "use": use.on(store)})
            return Answer(status=200, etag=_etag(shown), body=to_json(shown).decode())

        answer = once(use.store, attempt, act)
        return _response(answer.status, answer.etag, answer.body)

    route.__signature__ = _signature(endpoint, posts=posts)  # type: ignore[attr-defined]
    return route


def _signature(endpoint: Endpoint, *, posts: bool) -> inspect.Signature:
    """What FastAPI is to give: what the function asks for, and what the wrapper needs."""
    signature = inspect.signature(endpoint)
    if not posts:
        return signature
    attempt = inspect.Parameter(
        "attempt",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[Attempt | None, Depends(attempt_of)],
    )
    return signature.replace(parameters=[*signature.parameters.values(), attempt])


def _response(status: int, etag: str | None, body: str | bytes) -> Response:
    """Written out here, in the thread that made it: FastAPI would check what we made ourselves
    against its model once more, and take another turn through the threads for it.
    """
    headers = {} if etag is None else {"etag": etag}
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _etag(shown: Any) -> str | None:
    return f'"{shown.version}"' if isinstance(shown, Schedule) else None
