"""The code location: everything that Dagster loads, as an explicit list."""

import dagster as dg

from schedules_pipeline.defs.job import build_job
from schedules_pipeline.defs.sensor import build_sensor
from schedules_pipeline.settings import Settings
from schedules_pipeline.wiring import Wiring

wiring = Wiring(Settings.load(), pool_size=3)
job = build_job(wiring)

defs = dg.Definitions(jobs=[job], sensors=[build_sensor(wiring, job)])
