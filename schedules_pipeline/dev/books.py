"""The ledger as `schedules dev` needs it, for as little memory as that takes.

The supervisor stays for days to print a line per fire. So what it needs once (the migrations, the
use cases that register the demo) is imported by a process that is gone when it is done.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime

from schedules_pipeline.dev.databases import without_driver
from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.parts import DATABASES
from schedules_pipeline.errors import StartupError
from schedules_pipeline.services.stored import LandedFire
from schedules_pipeline.settings import Settings, child_environment
from schedules_pipeline.store.landing import LandedFires


class LedgerBooks:
    """See `dev.ledger.Books`."""

    def __init__(self, settings: Settings) -> None:
        assert settings.database_url is not None, "the supervisor brings one if none is set"
        self._settings = settings
        self._landed = LandedFires(without_driver(settings.database_url))

    def prepare(self, agent_urls: dict[str, str]) -> None:
        """Have it done by `dev.preparing`. Errors: StartupError with what that says."""
        home = Home(self._settings.home)
        with home.log(DATABASES).open("ab") as log:
            ended = subprocess.run(
                [sys.executable, "-m", "schedules_pipeline.dev.preparing", json.dumps(agent_urls)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # With the home's mark: whoever stops the house in the meantime stops this too.
                env=child_environment(
                    **home.marks(DATABASES),
                    SCHEDULES_DATABASE_URL=self._settings.database_url or "",
                ),
                start_new_session=True,
                check=False,
                text=True,
            )
        # Not its exit code: the supervisor's main thread, which takes leave of every child that is
        # no part, may have been first to ask for that.
        _raise_unless_ready(ended.stdout.strip(), home)

    def landed_fires(self, since: datetime) -> Sequence[LandedFire]:
        """Fires that ended after `since`."""
        return self._landed.since(since)

    def close(self) -> None:
        """Give the connection back."""
        self._landed.close()


READY = "ready"
"""What the preparing process says at its end; anything else is what went wrong."""


def _raise_unless_ready(said: str, home: Home) -> None:
    if said != READY:
        log = home.log(DATABASES)
        raise StartupError(said or f"The databases' preparation was cut off; see {log}.")
