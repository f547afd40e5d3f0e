"""The scenarios by name: on which stage, and what is done there while schedules fire."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from soak import breaking, stages
from soak.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`set_up` gives the stage; `inject` breaks things there for about so many seconds.

    `fields`: what the schedules say beside the soak's own defaults. `late_limit_seconds`: an input
    that reaches its agent later than this is stale, and occurrences may end `missed` instead.
    """

    about: str
    minutes: float
    set_up: Callable[[Path, Random], AbstractContextManager[Stage]]
    inject: Callable[[Stage, float], None]
    fields: dict[str, Any] = field(default_factory=dict)
    late_limit_seconds: float | None = None


SCENARIOS: dict[str, Scenario] = {
    "kills": Scenario(
        about="SIGKILL at random: Dagster runs, daemon, code server, run parent, webserver, REST "
        "API, agents, PostgreSQL (also by immediate shutdown)",
        minutes=10.5,
        set_up=stages.own_house,
        inject=breaking.kill_at_random,
    ),
    "frozen": Scenario(
        about="SIGSTOP of the present minute's run for 40 s, then SIGCONT",
        minutes=4,
        set_up=stages.own_house,
        inject=breaking.again_and_again(breaking.freeze_a_run, rest_seconds=30),
    ),
    "outage": Scenario(
        about="PostgreSQL away for 45 s over a busy minute",
        minutes=3.5,
        set_up=stages.own_database,
        inject=breaking.again_and_again(breaking.take_the_database_away, rest_seconds=45),
    ),
    "disk": Scenario(
        about="the disk that PostgreSQL keeps its data on is full for 30 s",
        minutes=3,
        set_up=stages.small_disk,
        inject=breaking.again_and_again(breaking.fill_the_disk, rest_seconds=45),
    ),
    "clock": Scenario(
        about="the host's clock jumps for the whole house, but not for PostgreSQL",
        minutes=4,
        set_up=stages.jumping_host_clock,
        inject=breaking.again_and_again(breaking.jump_the_clock, rest_seconds=20),
    ),
    "connections": Scenario(
        about="every connection to PostgreSQL is taken for 20 s",
        minutes=3,
        set_up=stages.few_connections,
        inject=breaking.again_and_again(breaking.take_all_connections, rest_seconds=40),
    ),
    "tick": Scenario(
        about="SIGKILL of the daemon between a tick's commit and its submissions",
        minutes=4,
        set_up=stages.own_house,
        inject=breaking.again_and_again(breaking.cut_a_tick, rest_seconds=20),
    ),
    "code": Scenario(
        about="the code location does not load for 5 minutes",
        minutes=5,
        set_up=stages.breakable_code,
        inject=breaking.break_the_code,
    ),
    "sensor": Scenario(
        about="the sensor is stopped with armed slices, an hour passes, it is started again",
        minutes=2,
        set_up=stages.an_hour_can_pass,
        inject=breaking.stop_the_sensor_for_an_hour,
        fields={"catchup_policy": "latest"},
        late_limit_seconds=70,
    ),
}
