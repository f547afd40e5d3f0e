"""Dagster's daemon, which looks for backfills every few seconds instead of every 30.

    python -m schedules_pipeline.launcher.daemon run --workspace workspace.yaml

Whoever clicks on a backfill waits for the next look twice: until its runs start, and until it is
called ended. Dagster has the time between two looks as a constant and no setting for it, so this is
`dagster-daemon` with that constant replaced. It stands on one thing that Dagster does not promise,
held by tests/launcher/test_dagster.py: that the backfill loop reads it there, and nothing else does
but an asset daemon that we do not use.
"""

from dagster._daemon import controller
from dagster._daemon.cli import main

# A look is three queries, each over a connection of its own: 2.4 ms of the daemon's processor time.
BACKFILL_LOOK_SECONDS = 5


def run() -> None:
    """What `dagster-daemon` does, with its arguments."""
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = BACKFILL_LOOK_SECONDS
    main()


if __name__ == "__main__":
    run()
