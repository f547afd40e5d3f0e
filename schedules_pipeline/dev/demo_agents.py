"""Two demo agents for `schedules dev`: real HTTP servers that speak ACP as stock agents do.

    python -m schedules_pipeline.dev.demo_agents --acp-type async --port 9001

The `async` one takes tasks and events and thinks in silence; the `sync` one answers each message
in the same request. `GET /` shows what the last inputs were. Everything is kept in memory, bounded,
and an input that comes again under its idempotency key is not taken twice.
"""

import argparse
import asyncio
import json
import socket
import sys
from collections import OrderedDict, deque
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schedules_pipeline.domain.schedule import AcpType, JsonObject
from schedules_pipeline.errors import StartupError

REMEMBERED_INPUTS = 100
REMEMBERED_KEYS = 10_000
_METHODS = {
    AcpType.ASYNC: {"task/create", "event/send", "task/cancel", "task/interrupt"},
    AcpType.SYNC: {"message/send", "task/interrupt"},
}


class RpcError(Exception):
    """A JSON-RPC error: stock agents report every trouble as one, with HTTP status 200."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class DemoAgent:
    """What a demo agent does with a request, without the HTTP around it."""

    def __init__(self, acp_type: AcpType) -> None:
        self.acp_type = acp_type
        self.inputs: deque[JsonObject] = deque(maxlen=REMEMBERED_INPUTS)
        self._taken: OrderedDict[str, None] = OrderedDict()

    def handle(self, envelope: object, idempotency_key: str | None) -> JsonObject | None:
        """The `result` of one request; for message/send, the content of the answer.

        Errors: RpcError.
        """
        if not isinstance(envelope, dict):
            raise RpcError(-32603, "The request is not a JSON object")
        method, params = envelope.get("method"), envelope.get("params")
        if not isinstance(method, str) or method not in _METHODS[self.acp_type]:
            raise RpcError(-32601, f"Method {method} not found")
        if not isinstance(params, dict) or not isinstance(params.get("task"), dict):
            raise RpcError(-32603, "params.task: Field required")
        match method:
            case "task/create":
                return None
            case "event/send":
                event = params.get("event")
                content = event.get("content") if isinstance(event, dict) else None
                self._take(params["task"], content, idempotency_key)
            case "message/send":
                text = self._take(params["task"], params.get("content"), idempotency_key)
                return {"type": "text", "author": "agent", "content": f"You said: {text}"}
        return {"status": "processing"}

    def _take(self, task: JsonObject, content: object, idempotency_key: str | None) -> str:
        if not isinstance(content, dict):
            raise RpcError(-32603, "content: Field required")
        text = str(content.get("content", ""))
        if self._is_new(idempotency_key):
            metadata = task.get("task_metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            self.inputs.append(
                {
                    "task_id": task.get("id"),
                    "display_name": metadata.get("display_name"),
                    "fire_time": metadata.get("fire_time"),
                    "content": text[:1_000],
                    "idempotency_key": idempotency_key,
                }
            )
        return text

    def _is_new(self, idempotency_key: str | None) -> bool:
        if idempotency_key is None:
            return True
        if idempotency_key in self._taken:
            return False
        self._taken[idempotency_key] = None
        if len(self._taken) > REMEMBERED_KEYS:
            self._taken.popitem(last=False)
        return True


def create_app(agent: DemoAgent) -> Starlette:
    """The HTTP face of an agent: `POST /api`, `GET /healthz`, `GET /`."""

    async def rpc(request: Request) -> Response:
        rpc_id: object = None
        method: object = None
        try:
            envelope = _parse(await request.body())
            if isinstance(envelope, dict):
                rpc_id, method = envelope.get("id"), envelope.get("method")
            result = agent.handle(envelope, request.headers.get("x-idempotency-key"))
        except RpcError as failure:
            error = {"code": failure.code, "message": str(failure), "data": None}
            return JSONResponse(_reply(rpc_id, error=error))
        if method == "message/send":
            return _ndjson(rpc_id, result)
        return JSONResponse(_reply(rpc_id, result=None if rpc_id is None else result))

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "healthy"})

    async def index(_: Request) -> Response:
        return JSONResponse({"acp_type": agent.acp_type.value, "inputs": list(agent.inputs)})

    return Starlette(
        routes=[Route("/api", rpc, methods=["POST"]), Route("/healthz", health), Route("/", index)]
    )


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RpcError(-32603, "The request is not JSON") from None


def _reply(
    rpc_id: object, *, result: JsonObject | None = None, error: JsonObject | None = None
) -> JsonObject:
    return {"jsonrpc": "2.0", "result": result, "error": error, "id": rpc_id}


def _ndjson(rpc_id: object, content: JsonObject | None) -> Response:
    if rpc_id is None:  # a notification: stock agents answer with a bare null
        return JSONResponse(None)
    update = {"type": "full", "index": 0, "content": content, "parent_task_message": None}
    line = json.dumps(_reply(rpc_id, result=update)) + "\n"
    return Response(line, media_type="application/x-ndjson")


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop at once: whoever waits for an answer will ask again."""
        self.should_exit = self.force_exit = True


def serve(acp_type: AcpType, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Port 0 takes a free one and says which.

    Errors: StartupError when the address cannot be listened on.
    """
    try:
        listener = socket.create_server((host, port), backlog=1_024)
    except (OSError, OverflowError) as error:
        # create_server repeats the address, in brackets, behind the reason.
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0].rstrip(".")
        raise StartupError(
            f"The demo agent cannot listen on {host}:{port}: {reason}. Give it another --port."
        ) from None
    with listener:
        # Connections inherit it. asyncio sets it only where the listener names its protocol, which
        # create_server's does not; without it each answer waits 40 ms for the client's ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = create_app(DemoAgent(acp_type))
        server = _Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        bound_port = listener.getsockname()[1]
        sys.stdout.write(f"demo agent ({acp_type.value}) on http://{host}:{bound_port}\n")
        sys.stdout.flush()
        asyncio.run(server.serve(sockets=[listener]))


def main(arguments: list[str] | None = None) -> None:
    """Run one demo agent; see the module's text."""
    parser = argparse.ArgumentParser(description="A demo agent that speaks ACP.")
    parser.add_argument("--acp-type", choices=["async", "sync"], required=True)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args(arguments)
    try:
        serve(AcpType(options.acp_type), options.host, options.port)
    except StartupError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
