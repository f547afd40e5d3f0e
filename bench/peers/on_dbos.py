"""DBOS: workflows whose steps are kept in PostgreSQL; a fire is one with two steps."""

import threading
import time
from datetime import UTC, datetime

from dbos import DBOS, DBOSConfig, SetEnqueueOptions

from bench.peers.work import IN_FLIGHT, Order, call, run

POLL_SECONDS = 0.5
"""The default is 1 s."""
QUEUE = "fires"
EPOCH = datetime.fromtimestamp(0, UTC)


@DBOS.step()
async def create_task(schedule: str, nominal: float) -> None:
    """The first call."""
    await call(0, schedule, nominal)


@DBOS.step()
async def send_input(schedule: str, nominal: float) -> None:
    """The second call."""
    await call(1, schedule, nominal)


@DBOS.workflow()
async def fire(nominal: datetime, schedule: str) -> None:
    """One fire; the arguments are those of a scheduled workflow."""
    await create_task(schedule, nominal.timestamp())
    await send_input(schedule, nominal.timestamp())


def _launch(order: Order) -> None:
    config = DBOSConfig(
        name="bench",
        system_database_url=order.store_url.replace("postgresql://", "postgresql+psycopg://"),
        scheduler_polling_interval_sec=1.0,
        log_level="WARNING",
    )
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=IN_FLIGHT, polling_interval_sec=POLL_SECONDS)


def _prepare(order: Order) -> None:
    _launch(order)
    for name, first in order.schedules():
        if order.kind == "once":
            with SetEnqueueOptions(delay_seconds=first - time.time()):
                DBOS.enqueue_workflow(QUEUE, fire, datetime.fromtimestamp(first, UTC), name)
        elif order.kind == "every":
            seconds = ",".join(str((first + n) % 60) for n in range(0, 60, order.every))
            DBOS.create_schedule(
                schedule_name=name,
                workflow_fn=fire,
                schedule=f"{seconds} * * * * *",
                context=name,
                queue_name=QUEUE,
            )
    DBOS.destroy()


def _serve(order: Order) -> None:
    _launch(order)
    order.on_trigger(lambda name: DBOS.start_workflow(fire, EPOCH, name))
    order.ready()
    threading.Event().wait()


if __name__ == "__main__":
    run({"prepare": _prepare, "serve": _serve})
