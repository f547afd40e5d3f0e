"""Procrastinate: a queue in PostgreSQL, and one worker that also defers what is periodic."""

import asyncio
from datetime import UTC, datetime

from procrastinate import App, PsycopgConnector

from bench.peers.work import IN_FLIGHT, Order, deliver, run, the_order

POLL_SECONDS = 0.5
"""Nothing notifies a worker of a job that comes due: it looks. The default is 5 s."""
CHUNK = 1_000

app = App(connector=PsycopgConnector(conninfo=the_order().store_url))


@app.task(name="fire")
async def fire(schedule: str, timestamp: int) -> None:
    """One fire. `timestamp` is what periodic tasks are given."""
    await deliver(schedule, timestamp)


@app.periodic(cron="* * * * * */10")
@app.task(name="retry_stalled", queueing_lock="retry_stalled", pass_context=False)
async def retry_stalled(timestamp: int) -> None:
    """The documented way to take up what a killed worker left: those without a heartbeat."""
    del timestamp
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def _prepare(order: Order) -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        if order.kind != "once":
            return
        due = fire.configure(schedule_at=datetime.fromtimestamp(order.first, UTC))
        names = order.schedules()
        for begin in range(0, len(names), CHUNK):
            await due.batch_defer_async(
                *({"schedule": n, "timestamp": first} for n, first in names[begin : begin + CHUNK])
            )


async def _serve(order: Order) -> None:
    if order.kind == "every":
        for name, first in order.schedules():
            seconds = ",".join(str((first + n) % 60) for n in range(0, 60, order.every))
            app.periodic(
                cron=f"* * * * * {seconds}", periodic_id=name, task_kwargs={"schedule": name}
            )(fire)
    async with app.open_async():
        loop = asyncio.get_running_loop()
        order.on_trigger(
            lambda name: asyncio.run_coroutine_threadsafe(
                fire.defer_async(schedule=name, timestamp=0), loop
            )
        )
        loop.call_later(1, order.ready)
        await app.run_worker_async(
            concurrency=IN_FLIGHT, fetch_job_polling_interval=POLL_SECONDS, wait=True
        )


if __name__ == "__main__":
    run(
        {
            "prepare": lambda order: asyncio.run(_prepare(order)),
            "serve": lambda order: asyncio.run(_serve(order)),
        }
    )
