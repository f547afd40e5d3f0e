"""The partition set whose keys are slice keys. A person can backfill what is missing in it."""

import dagster as dg

PARTITION_SET = "nominal_fire_times"
nominal_fire_times = dg.DynamicPartitionsDefinition(name=PARTITION_SET)
