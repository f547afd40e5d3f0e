"""What is done to the house: each fault hits one process that this soak started itself."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress

import psycopg

from schedules_pipeline.dev.parts import (
    API,
    CODE_SERVER,
    DAEMON,
    POSTGRES,
    RUN_PARENT,
    WEBSERVER,
)
from schedules_pipeline.dev.stopping import runs
from soak.stage import OwnDatabase, Stage
from soak.stages import BROKEN_FLAG, set_time_of_day

SHORTEST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 6.5
AGENT_AWAY_SECONDS = (0.2, 3.0)
FREEZE_SECONDS = 40.0
OUTAGE_SECONDS = 45.0
FULL_SECONDS = 30.0
DISK_IS_FULL = b"No space left on device"
HOG_SECONDS = 20.0
JUMP_SECONDS = 25.0
JUMPS = (3_600, -3_600, 20, -86_400, 45)


def kill_part(name: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Stage], bool]:
    """Kill a part of the house; its supervisor starts it again after a moment."""

    def kill(stage: Stage) -> bool:
        record = stage.home.read_records().get(name)
        return record is not None and record.identity.kill(number)

    return kill


def kill_run(stage: Stage) -> bool:
    """Kill one of the Dagster runs, whatever it is at: coming up, waiting, in mid-delivery."""
    found = runs(stage.home, stage.home.read_records())
    return bool(found) and stage.chance.choice(found).kill(signal.SIGKILL)


def kill_agent(stage: Stage) -> bool:
    """Kill one of the agents, and start it again after a moment."""
    which = stage.chance.randrange(len(stage.agents.running))
    stage.agents.restart_one(which, stage.chance.uniform(*AGENT_AWAY_SECONDS))
    return True


KILLS: Mapping[str, Callable[[Stage], bool]] = {
    "Dagster run": kill_run,
    "daemon": kill_part(DAEMON),
    "code server": kill_part(CODE_SERVER),
    "run parent": kill_part(RUN_PARENT),
    "webserver": kill_part(WEBSERVER),
    "REST API": kill_part(API),
    "agent": kill_agent,
    "PostgreSQL (SIGKILL)": kill_part(POSTGRES),
    "PostgreSQL (immediate shutdown)": kill_part(POSTGRES, signal.SIGQUIT),
}


def kill_at_random(stage: Stage, seconds: float) -> None:
    """Every few seconds one victim; each is taken equally often, in random order."""
    deadline = time.monotonic() + seconds
    bag: list[str] = []
    while time.monotonic() < deadline:
        bag = bag or stage.chance.sample(sorted(KILLS), len(KILLS))
        victim = bag.pop()
        if KILLS[victim](stage):
            stage.faults[victim] += 1
        time.sleep(stage.chance.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))


def present_run(stage: Stage) -> int:
    """The process of the Dagster run that works the present minute, once there is one."""
    query = (
        "select pid from dispatches join slices using (slice_key) where finished_at is null and "
        "kind = 'minute' and statement_timestamp() between starts_at + interval '2 s' and ends_at"
    )
    pid: int = stage.stack.wait_for(lambda: stage.stack.sql(query), timeout=180)[0][0]
    return pid


def freeze_a_run(stage: Stage) -> None:
    """SIGSTOP the run of the present minute, long enough to be taken for dead; then SIGCONT."""
    pid = present_run(stage)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(FREEZE_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    stage.faults[f"a run frozen for {FREEZE_SECONDS:g} s"] += 1


def take_the_database_away(stage: Stage) -> None:
    """An immediate shutdown, and back after a while."""
    database = _own(stage)
    server = database.server.running()
    assert server, "it is up between two rounds"
    server.kill(signal.SIGQUIT)
    time.sleep(OUTAGE_SECONDS)
    database.bring_back()
    stage.faults[f"PostgreSQL away for {OUTAGE_SECONDS:g} s"] += 1


def fill_the_disk(stage: Stage) -> None:
    """Not a page is left where PostgreSQL keeps its data; after a while there is room again."""
    ballast = _own(stage).server.directory.parent / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass
    time.sleep(FULL_SECONDS)
    ballast.unlink()
    _own(stage).bring_back()
    stage.faults[f"the disk full for {FULL_SECONDS:g} s"] += 1
    refused = sum(log.read_bytes().count(DISK_IS_FULL) for log in stage.database_logs())
    assert refused, "PostgreSQL never met with the full disk"
    stage.faults["PostgreSQL found no space"] = refused


def take_all_connections(stage: Stage) -> None:
    """Whatever connection becomes free is taken by somebody who does nothing with it."""
    deadline = time.monotonic() + HOG_SECONDS
    with ExitStack() as held:
        while time.monotonic() < deadline:
            with suppress(psycopg.Error):
                held.enter_context(psycopg.connect(stage.stack.database_url))
                stage.faults["connections taken"] += 1
            time.sleep(0.01)
    stage.faults[f"no connection left for {HOG_SECONDS:g} s"] += 1


def jump_the_clock(stage: Stage) -> None:
    """The time of day leaps, and after a while leaps back."""
    jump = JUMPS[stage.faults.total() % len(JUMPS)]
    set_time_of_day(stage.folder, jump)
    time.sleep(JUMP_SECONDS)
    set_time_of_day(stage.folder, 0)
    stage.faults[f"host clock {jump:+} s, for {JUMP_SECONDS:g} s"] += 1


def cut_a_tick(stage: Stage) -> None:
    """SIGKILL the daemon when a tick has committed an emission and submitted nothing yet."""
    emitted = "select coalesce(sum(emit_count), 0) from slices"
    with psycopg.connect(stage.stack.database_url, autocommit=True) as connection:
        before = connection.execute(emitted).fetchone()
        while connection.execute(emitted).fetchone() == before:
            time.sleep(0.002)
    stage.faults["daemon killed at a tick's commit"] += kill_part(DAEMON)(stage)


def break_the_code(stage: Stage, seconds: float) -> None:
    """A bad deploy: what starts from now on cannot load the code location; then it is mended."""
    flag = stage.folder / BROKEN_FLAG
    flag.touch()
    for part in (CODE_SERVER, RUN_PARENT):
        kill_part(part)(stage)
    time.sleep(seconds)
    flag.unlink()
    stage.faults[f"code did not load for {seconds:g} s"] += 1


def stop_the_sensor_for_an_hour(stage: Stage, seconds: float) -> None:
    """Stop the clock in the Dagster UI's way while minutes are armed; an hour; start it again."""
    _toggle_sensor(stage, on=False)
    armed = stage.sql("select count(*) from fires where state = 'planned'")
    set_time_of_day(stage.folder, 3600)
    time.sleep(seconds / 2)
    _toggle_sensor(stage, on=True)
    time.sleep(seconds / 2)
    stage.faults["sensor stopped for an hour"] += 1
    stage.faults["fires that were armed"] += armed


def again_and_again(
    fault: Callable[[Stage], None], rest_seconds: float
) -> Callable[[Stage, float], None]:
    """The fault, a rest, and so on while there is time; at least once."""

    def inject(stage: Stage, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        fault(stage)
        while time.monotonic() + rest_seconds < deadline:
            time.sleep(rest_seconds)
            fault(stage)

    return inject


def _own(stage: Stage) -> OwnDatabase:
    assert stage.database, "the scenario's stage has a database of its own"
    return stage.database


def _toggle_sensor(stage: Stage, *, on: bool) -> None:
    selector = {
        "repositoryLocationName": "schedules_pipeline",
        "repositoryName": "__repository__",
        "sensorName": "agent_run_schedules",
    }
    if on:
        stage.stack.graphql(
            "mutation ($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }",
            s=selector,
        )
        return
    found = stage.stack.graphql(
        "query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) "
        "{ ... on Sensor { sensorState { id } } } }",
        s=selector,
    )
    stage.stack.graphql(
        "mutation ($id: String!) { stopSensor(id: $id) { __typename } }",
        id=found["sensorOrError"]["sensorState"]["id"],
    )
