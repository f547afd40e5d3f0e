"""Stock Dagster: code server, daemon and webserver, as `make dev` has them, one run per fire.

Runs in the project's own environment. With our dagster.yaml: without that file's run coordinator
its runs would wait in a queue that is looked at every 5 s.
"""

import json
import os
import socket
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench.peers.work import Order, run

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) { __typename }
}
"""


def _prepare(order: Order) -> None:
    folder = Path(order.folder)
    dagster_yaml = files("schedules_pipeline.dev") / "dagster.yaml"
    (folder / "dagster.yaml").write_text(dagster_yaml.read_text())
    code = f"{{socket: {_socket(order)}, location_name: stock}}"
    (folder / "workspace.yaml").write_text(f"load_from:\n  - grpc_server: {code}\n")


def _socket(order: Order) -> Path:
    return Path(order.folder) / "code.sock"


def _code(order: Order) -> None:
    _socket(order).unlink(missing_ok=True)
    process = _dagster(
        order,
        *("dagster", "api", "grpc", "--socket", str(_socket(order))),
        *("--module-name", "bench.stock_definitions", "--location-name", "stock"),
    )
    while not _socket(order).exists():
        time.sleep(0.1)
    order.ready()
    process.wait()


def _daemon(order: Order) -> None:
    process = _dagster(order, "dagster._daemon", "run", "--workspace", _workspace(order))
    order.ready()
    process.wait()


def _web(order: Order) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = ("--host", "127.0.0.1", "--port", str(port))
    _dagster(order, "dagster_webserver", "--workspace", _workspace(order), *listen)
    url = f"http://127.0.0.1:{port}/graphql"
    while not _answers(url, {"query": "{ version }"}):
        time.sleep(0.2)
    order.ready()
    for name in order.triggers():
        _answers(url, {"query": LAUNCH, "variables": {"params": _launched(name)}})


def _launched(name: str) -> dict[str, object]:
    tags = {"bench/fire": f"{name}@0", "bench/fire_time": "1970-01-01T00:00:00+00:00"}
    return {
        "selector": {
            "repositoryLocationName": "stock",
            "repositoryName": "__repository__",
            "jobName": "one_fire",
        },
        "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
    }


def _answers(url: str, body: dict[str, object]) -> bool:
    headers = {"content-type": "application/json"}
    try:
        with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=120) as answer:
            print(answer.read().decode(), flush=True)
            return True
    except (URLError, OSError):
        return False


def _workspace(order: Order) -> str:
    return str(Path(order.folder) / "workspace.yaml")


def _dagster(order: Order, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "DAGSTER_HOME": order.folder,
        "SCHEDULES_DAGSTER_URL": order.store_url.replace("postgresql://", "postgresql+psycopg2://"),
    }
    return subprocess.Popen([sys.executable, "-m", *arguments], env=environment)


if __name__ == "__main__":
    run({"prepare": _prepare, "code": _code, "daemon": _daemon, "web": _web})
