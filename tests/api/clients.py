"""The published Agentex client, sync and async."""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentex import Agentex, AsyncAgentex


class Blocking:
    """An async client that can be used as if it were the sync one."""

    def __init__(self, of: Any, runner: asyncio.Runner) -> None:
        self._of = of
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not inspect.ismethod(found):
            return Blocking(found, self._runner)

        async def awaited(*args: Any, **options: Any) -> Any:
            asked = found(*args, **options)
            if inspect.isasyncgen(asked):
                return [each async for each in asked]
            return await asked

        return lambda *args, **options: self._runner.run(awaited(*args, **options))


@contextmanager
def a_client(kind: str, base_url: str) -> Iterator[Any]:
    """`sync`, or `async` as if it were the sync one."""
    if kind == "sync":
        with Agentex(base_url=base_url, api_key="unused", max_retries=0) as opened:
            yield opened
        return
    with asyncio.Runner() as runner:
        client = AsyncAgentex(base_url=base_url, api_key="unused", max_retries=0)
        yield Blocking(client, runner)
        runner.run(client.close())
