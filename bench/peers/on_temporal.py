"""Temporal: its Schedules start workflows; a worker's activity makes the two calls."""

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio import activity, workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
)
from temporalio.common import SearchAttributeKey
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.peers.work import IN_FLIGHT, Order, deliver, run

QUEUE = "fires"
ACTIVITY_SECONDS = 30
CREATORS = 8
PATIENCE = timedelta(seconds=60)
NOMINAL = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@activity.defn
async def two_calls(schedule: str, nominal: float) -> None:
    """The two calls."""
    await deliver(schedule, nominal)


@workflow.defn
class Fire:
    """One fire."""

    @workflow.run
    async def run(self, schedule: str) -> None:
        """Of this schedule, at the time that Temporal started it for."""
        nominal = workflow.info().typed_search_attributes.get(NOMINAL)
        await workflow.execute_activity(
            two_calls,
            args=[schedule, nominal.timestamp() if nominal else 0],
            start_to_close_timeout=timedelta(seconds=ACTIVITY_SECONDS),
        )


async def _prepare(order: Order) -> None:
    client = await Client.connect(order.store_url)
    turns = asyncio.Semaphore(CREATORS)

    async def create(name: str, first: int) -> None:
        start = ScheduleActionStartWorkflow(Fire.run, name, id=name, task_queue=QUEUE)
        policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
        async with turns:
            await client.create_schedule(
                name,
                Schedule(action=start, spec=_cadence(order, first), policy=policy),
                rpc_timeout=PATIENCE,
            )

    if order.kind != "trigger":
        await asyncio.gather(*(create(name, first) for name, first in order.schedules()))


def _cadence(order: Order, first: int) -> ScheduleSpec:
    at = datetime.fromtimestamp(first, UTC)
    if order.kind == "every":
        every, offset = timedelta(seconds=order.every), timedelta(seconds=first % order.every)
        interval = ScheduleIntervalSpec(every=every, offset=offset)
        return ScheduleSpec(intervals=[interval], start_at=at)

    def only(value: int) -> list[ScheduleRange]:
        return [ScheduleRange(value)]

    moment = ScheduleCalendarSpec(
        second=only(at.second),
        minute=only(at.minute),
        hour=only(at.hour),
        day_of_month=only(at.day),
        month=only(at.month),
        year=only(at.year),
    )
    return ScheduleSpec(calendars=[moment])


async def _serve(order: Order) -> None:
    client, loop = await Client.connect(order.store_url), asyncio.get_running_loop()
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Fire],
        activities=[two_calls],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=IN_FLIGHT,
    )
    order.on_trigger(
        lambda name: asyncio.run_coroutine_threadsafe(
            client.start_workflow(Fire.run, name, id=name, task_queue=QUEUE), loop
        )
    )
    loop.call_later(1, order.ready)
    await worker.run()


if __name__ == "__main__":
    run(
        {
            "prepare": lambda order: asyncio.run(_prepare(order)),
            "serve": lambda order: asyncio.run(_serve(order)),
        }
    )
