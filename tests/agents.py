"""A real ACP agent in a process of its own that writes down everything it receives.

For end-to-end tests and benches: it outlives kills of everybody else, and measures arrival times
itself. Its `acp_url` says how it behaves (`http://127.0.0.1:PORT/hang`; see `acp_agent.MODES`), so
that one process can be good and bad agents at once; without a path it behaves as `--mode` says.

    python -m tests.agents --port 0 --log received.jsonl      # prints its port

    with start_agent(tmp_path) as agent:
        ...                                                   # agent.url, agent.url_for("hang")
        requests = agent.wait_for(2)                          # what it received, in order

A request is in the log before its answer is sent.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests import acp_agent

JsonObject = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent's process. Leave its `with` block, or call `stop()`, and it is gone."""

    url: str
    log_path: Path
    process: subprocess.Popen[str]

    def url_for(self, mode: str) -> str:
        """The `acp_url` under which the same process behaves as `mode` says."""
        return f"{self.url}/{mode}"

    def received(self, method: str | None = None) -> list[JsonObject]:
        """What came so far, in order; with `method`, only that."""
        lines = self.log_path.read_text().splitlines()
        requests: list[JsonObject] = [json.loads(line) for line in lines]
        return [r for r in requests if method in (None, r["method"])]

    def wait_for(
        self, count: int, *, method: str | None = None, timeout: float = 10.0
    ) -> list[JsonObject]:
        """What came, as soon as that is `count` requests.

        Errors: TimeoutError when it is fewer after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while len(requests := self.received(method)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(requests)} of {count} requests came in {timeout:g} s")
            time.sleep(0.02)
        return requests

    def stop(self) -> None:
        """End the process. May be called twice."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_agent(directory: Path, *options: str, name: str = "agent") -> RunningAgent:
    """Start an agent that logs to `directory/<name>.jsonl`; `options` as on the command line.

    It ends with its caller, even when that is killed.
    """
    log = directory / f"{name}.jsonl"
    command = [sys.executable, "-m", "tests.agents", "--port", "0", "--log", str(log)]
    process = subprocess.Popen(
        [*command, "--end-with-parent", *options],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C, or a kill of somebody's group, is not meant for it
    )
    assert process.stdout
    port = process.stdout.readline().strip()
    agent = RunningAgent(f"http://127.0.0.1:{port}", log, process)
    if not port:
        agent.stop()
        raise RuntimeError(f"The agent did not start: exit status {process.returncode}")
    return agent


if __name__ == "__main__":
    acp_agent.main()
