"""Where the output of a forked run goes: into its compute logs, and nowhere else.

Dagster's own manager copies it to the process's own output as well, by four more processes per run
that stay as long as it does, two of them Python. A standby worker stays for an hour.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.instance import InstanceRef
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file

# By both names that Dagster has for the module.
DAGSTERS_OWN = (
    "dagster._core.storage.local_compute_log_manager",
    "dagster.core.storage.local_compute_log_manager",
)


class UncopiedLogs(LocalComputeLogManager):
    """The same files in the same places."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """As Dagster makes it."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Whatever this process says meanwhile goes into the two files."""
        out, err = (
            self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[each])
            for each in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        ensure_file(out)
        ensure_file(err)
        with redirect_to_file(sys.stdout, out), redirect_to_file(sys.stderr, err):
            yield CapturedLogContext(log_key)
        # By this file the UI knows that nothing more comes.
        touch_file(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call]


def uncopied(instance: InstanceRef) -> InstanceRef:
    """The same instance, with this in place of Dagster's own; another manager is left alone."""
    logs = instance.compute_logs_data
    if logs.module_name not in DAGSTERS_OWN or logs.class_name != LocalComputeLogManager.__name__:
        return instance
    ours = ConfigurableClassData(__name__, UncopiedLogs.__name__, logs.config_yaml)
    return instance._replace(compute_logs_data=ours)
