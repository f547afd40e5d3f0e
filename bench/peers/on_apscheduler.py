"""APScheduler 3: an event loop that keeps its jobs in PostgreSQL."""

import asyncio
from datetime import UTC, datetime

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from bench.peers.work import Order, deliver, deliver_newest, forever, run


def _scheduler(order: Order) -> AsyncIOScheduler:
    url = order.store_url.replace("postgresql://", "postgresql+psycopg://")
    return AsyncIOScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=url)},
        executors={"default": AsyncIOExecutor()},
        # By default a job that is a second late is dropped, and so is its second instance.
        job_defaults={"misfire_grace_time": 3600, "coalesce": False, "max_instances": 100},
        timezone=UTC,
    )


async def _prepare(order: Order) -> None:
    scheduler = _scheduler(order)
    scheduler.start(paused=True)
    for name, first in order.schedules():
        at = datetime.fromtimestamp(first, UTC)
        if order.kind == "once":
            scheduler.add_job(deliver, "date", run_date=at, args=(name, first))
        else:
            arguments = (name, first, order.every)
            scheduler.add_job(
                deliver_newest, "interval", seconds=order.every, start_date=at, args=arguments
            )
    scheduler.shutdown(wait=False)


async def _serve(order: Order) -> None:
    scheduler = _scheduler(order)
    scheduler.start()
    order.on_trigger(lambda name: scheduler.add_job(deliver, args=(name, 0)))
    order.ready()
    await forever()


if __name__ == "__main__":
    run(
        {
            "prepare": lambda order: asyncio.run(_prepare(order)),
            "serve": lambda order: asyncio.run(_serve(order)),
        }
    )
