"""Celery: RedBeat sends what is due to Redis, a worker of four processes takes it from there."""

from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_ready
from redbeat import RedBeatSchedulerEntry
from redbeat.schedules import rrule

from bench.peers.work import Order, deliver_blocking, newest, run, the_order

PROCESSES = 4
ONCE = 0

app = Celery("bench", broker=the_order().store_url)
app.conf.update(
    timezone="UTC",
    # At least once: acknowledged when done, and given to another after a minute without that.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_transport_options={"visibility_timeout": 60},
    broker_connection_retry_on_startup=True,
    redbeat_redis_url=the_order().store_url.replace("redis+socket://", "unix://"),
    # A second beat waits for the first one's lock; the default is 25 minutes.
    redbeat_lock_timeout=10,
    beat_max_loop_interval=1,
)


@app.task(name="fire", ignore_result=True)
def fire(schedule: str, first: int, every: int) -> None:
    """One fire. The schedule of Celery does not tell which one it is."""
    deliver_blocking(schedule, newest(first, every) if every else first)


def _prepare(order: Order) -> None:
    for name, first in order.schedules() if order.kind != "trigger" else ():
        at = datetime.fromtimestamp(first, UTC)
        once = order.kind == "once"
        cadence = rrule("SECONDLY", dtstart=at, interval=order.every, count=1 if once else None)
        arguments = [name, first, ONCE if once else order.every]
        RedBeatSchedulerEntry(name, fire.name, cadence, args=arguments, app=app).save()


def _worker(order: Order) -> None:
    def ready(**_: Any) -> None:
        order.ready()

    worker_ready.connect(ready)
    quiet = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle")
    app.worker_main(["worker", "--concurrency", str(PROCESSES), *quiet])


def _beat(order: Order) -> None:
    def ready(**_: Any) -> None:
        order.ready()

    beat_init.connect(ready, weak=False)
    app.Beat(scheduler="redbeat.RedBeatScheduler", loglevel="WARNING").run()


def _client(order: Order) -> None:
    order.ready()
    for name in order.triggers():
        fire.delay(name, 0, ONCE)


if __name__ == "__main__":
    run({"prepare": _prepare, "worker": _worker, "beat": _beat, "client": _client})
