"""Routes to agents by hand: JSON-RPC, through the same client as fires.

What goes wrong before an agent is told has an HTTP status; what goes wrong at the agent is an
answer (200) with an `error`, as Agentex has it. The routes are async: an agent may take minutes,
and none of the few threads waits for it.
"""

import logging
import re
from collections.abc import Mapping
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Depends, Request, Response

from schedules_pipeline.api import dependencies
from schedules_pipeline.api.dependencies import Line, Room, Use
from schedules_pipeline.api.errors import IN_PROGRESS, NOT_FOUND, UNEXPECTED, Responses, speakable
from schedules_pipeline.api.fields import Handle
from schedules_pipeline.api.ndjson import Ndjson, Write
from schedules_pipeline.api.routing import attempt_of
from schedules_pipeline.api.rpc_schemas import (
    RpcAnswer,
    RpcError,
    RpcRequest,
    SendMessageRequest,
    line_of,
)
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import InvalidInput, Rejected, SchedulesError
from schedules_pipeline.services.calls import Caller, WhichAgent
from schedules_pipeline.services.conversing import Opened
from schedules_pipeline.services.once import Attempt, find_answer, keep_answer
from schedules_pipeline.services.stored import Answer

router = APIRouter(prefix="/agents", tags=["tasks"])
_log = logging.getLogger("schedules.api")

STREAMED: Responses = {
    200: {
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"jsonrpc":"2.0","result":{"type":"delta","index":0,"delta":'
                '{"type":"text","text_delta":"Hel"}},"error":null,"id":null}\n',
            }
        },
        "description": "`application/x-ndjson` for message/send with `stream`.",
    }
}
RESPONSES = NOT_FOUND | IN_PROGRESS | STREAMED

# Who the caller is, is between the caller and us; some we set ourselves; some are the network's.
KEPT_BACK = re.compile(
    r"x-(api-key|agent-api-key|acting-.*|selected-account-id|agent-identity|request-id"
    r"|idempotency-key|forwarded-.*|real-ip)"
)
PASSED_ON = re.compile(r"x-[a-z0-9-]+|traceparent|tracestate|baggage")
PLAIN = re.compile(r"[\x20-\x7e]{0,4096}")

Under = Annotated[Attempt | None, Depends(attempt_of)]


class Rpc:
    """One request: what it may use, and what is known of it besides its body."""

    def __init__(
        self,
        request: Request,
        use: Use,
        line: Line,
        places: Room,
        principal: dependencies.Caller,
        attempt: Under = None,
    ) -> None:
        self._use = use
        self._places = places
        self._line = line
        self._attempt = attempt
        self._caller = Caller(
            key=None if attempt is None else f"{attempt.scope}:{attempt.key}",
            headers=_for_the_agent(request.headers),
            principal=principal,
        )

    async def answer(self, which: WhichAgent, asked: RpcRequest) -> Response:
        """Errors: those that have an HTTP status."""
        streams = isinstance(asked, SendMessageRequest) and asked.params.stream
        if self._attempt is not None and (known := await self._known(streams=streams)):
            return _json(known.body)
        self._places.require(which.called)
        with self._places.held(which.called):
            return await self._call(which, asked, streams=streams)

    async def _call(self, which: WhichAgent, asked: RpcRequest, *, streams: bool) -> Response:
        try:
            opened = await run_sync(self._use.conversations.open, which, asked.call(), self._caller)
        except Rejected as error:
            return _failure(error)
        if streams:
            return Ndjson(lambda write: self._stream(which, opened, write))
        try:
            result = await self._use.conversations.tell(opened, self._line)
        except SchedulesError as error:
            return _failure(error)
        return _json(await self._kept(RpcAnswer.of(result)))

    async def _stream(self, which: WhichAgent, opened: Opened, write: Write) -> None:
        async def take(update: JsonObject) -> None:
            await write(line_of(update))

        try:
            with self._places.held(which.called):
                await self._use.conversations.tell(opened, self._line, take)
        except SchedulesError as error:
            await write(line_of(None, _error(error)))
        except Exception:
            _log.exception("a streamed answer broke off")
            await write(line_of(None, RpcError(message=UNEXPECTED)))

    async def _known(self, *, streams: bool) -> Answer | None:
        if streams:
            raise InvalidInput(
                "Idempotency-Key",
                "cannot be kept with an answer that is streamed; leave out the one or the other",
            )
        assert self._attempt is not None
        return await run_sync(find_answer, self._use.store, self._attempt)

    async def _kept(self, shown: RpcAnswer) -> str:
        """Of two at once under one key both get the answer that was there first."""
        body = shown.model_dump_json()
        if self._attempt is None:
            return body
        answer = Answer(status=200, etag=None, body=body)
        return (await run_sync(keep_answer, self._use.store, self._attempt, answer)).body


@router.post("/{agent_id}/rpc", responses=RESPONSES, response_model=RpcAnswer)
async def call_agent(
    agent_id: Handle, asked: Annotated[RpcRequest, Body()], rpc: Annotated[Rpc, Depends()]
) -> Response:
    """Give an agent a task or an input, or tell it to stop, and get its answer."""
    return await rpc.answer(WhichAgent(id=agent_id), asked)


@router.post("/name/{agent_name}/rpc", responses=RESPONSES, response_model=RpcAnswer)
async def call_agent_by_name(
    agent_name: Handle, asked: Annotated[RpcRequest, Body()], rpc: Annotated[Rpc, Depends()]
) -> Response:
    """The same, by the agent's name."""
    return await rpc.answer(WhichAgent(name=agent_name), asked)


def _for_the_agent(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if PASSED_ON.fullmatch(name) and not KEPT_BACK.fullmatch(name) and PLAIN.fullmatch(value)
    }


def _json(body: str) -> Response:
    return Response(body, media_type="application/json")


def _failure(error: SchedulesError) -> Response:
    return _json(RpcAnswer(error=_error(error)).model_dump_json())


def _error(error: SchedulesError) -> RpcError:
    return RpcError(message=speakable(str(error)))
