"""Jobs whose runs the launcher's tests start. What a run says of itself goes into a file."""

import json
import os
import random
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import dagster as dg

LOADED = set(sys.modules)


def report_of(run: dg.DagsterRun) -> Path:
    """Where that run writes about itself."""
    return Path(run.tags["test/folder"]) / f"{run.run_id}.json"


@dg.op
def tell(context: dg.OpExecutionContext) -> None:
    """Write down what this process is and what it found."""
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    told: dict[str, Any] = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "parent": os.getppid(),
        "random": random.random(),
        "uuid": str(uuid.uuid4()),
        "threads": [thread.name for thread in threading.enumerate()],
        "modules": sorted(sys.modules),
    }
    report_of(context.run).write_text(json.dumps(told))


@dg.op
def wait(context: dg.OpExecutionContext) -> None:
    """Say that it began, and go on until `<report>.done` is there or somebody interrupts."""
    file = report_of(context.run)
    file.write_text(json.dumps({"pid": os.getpid()}))
    while not file.with_suffix(".done").exists():
        time.sleep(0.05)


@dg.job(executor_def=dg.in_process_executor)
def telling() -> None:
    """Ends at once."""
    tell()


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    """Ends when it is told to."""
    wait()


defs = dg.Definitions(jobs=[telling, waiting])
