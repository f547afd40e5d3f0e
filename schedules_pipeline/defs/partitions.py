"""The partition set whose keys are slice keys. A person can backfill what is missing in it."""

import dagster as dg

nominal_fire_times = dg.DynamicPartitionsDefinition(name="nominal_fire_times")
