"""The database thread of `schedules dev`: makes the databases ready, then reads the fires."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Protocol

from schedules_pipeline.dev.databases import dagster_url, ensure_database, server_time
from schedules_pipeline.dev.voice import Fire
from schedules_pipeline.errors import SchedulesError
from schedules_pipeline.settings import Settings

LOOK_SECONDS = 1.0
# A fire that finished earlier can become visible later: its transaction took longer. So each look
# goes back this far behind the newest fire seen, and passes over what was printed.
OVERLAP = timedelta(seconds=2)
# Dagster's code server stops watching its runs when PostgreSQL was away for more than about 6 s.
NOTABLE_OUTAGE_SECONDS = 5.0


class LandedFire(Fire, Protocol):
    """A fire that ended, as the ledger tells it."""

    @property
    def finished_at(self) -> datetime:
        """When it ended."""

    @property
    def fire_id(self) -> str:
        """Its identity."""


class Books(Protocol):
    """What is needed of the ledger."""

    def prepare(self, agent_urls: dict[str, str]) -> None:
        """Bring the tables up to date, and register the demo agents, with a schedule each."""

    def landed_fires(self, since: datetime) -> Sequence[LandedFire]:
        """The fires that ended after `since`, by when they ended."""

    def close(self) -> None:
        """Give the connections back."""


@dataclass(frozen=True)
class Prepared:
    """The databases are ready; everybody may start."""


@dataclass(frozen=True)
class Failed:
    """The databases cannot be made ready."""

    error: Exception


@dataclass(frozen=True)
class Landed:
    """Fires ended."""

    fires: Sequence[LandedFire]


@dataclass(frozen=True)
class Outage:
    """The database could not be asked for a while, and can again."""

    seconds: float


News = Prepared | Failed | Landed | Outage


class LedgerWatch(threading.Thread):
    """Makes the databases ready, then reports fires as they land, and outages."""

    def __init__(
        self,
        settings: Settings,
        agent_urls: dict[str, str],
        news: SimpleQueue[News | None],
        open_books: Callable[[Settings], Books],
    ) -> None:
        super().__init__(name="ledger-watch", daemon=True)
        self._settings = settings
        self._agent_urls = agent_urls
        self._news = news
        self._open_books = open_books
        self._done = threading.Event()

    def run(self) -> None:
        """Work until `finish()`."""
        try:
            books = self._open_books(self._settings)
        except Exception as error:  # the main thread decides
            self._news.put(Failed(error))
            return
        try:
            self._prepare_and_read(books)
        finally:
            books.close()

    def finish(self, timeout_seconds: float = 1.0) -> None:
        """Stop, after one last look."""
        self._done.set()
        if self.is_alive():
            self.join(timeout_seconds)

    def _prepare_and_read(self, books: Books) -> None:
        try:
            url = self._settings.database_url or ""
            ensure_database(url)
            ensure_database(dagster_url(self._settings))
            books.prepare(self._agent_urls)
            since = server_time(url)
        except Exception as error:  # the main thread decides
            self._news.put(Failed(error))
            return
        self._news.put(Prepared())
        self._read(books, since)

    def _read(self, books: Books, since: datetime) -> None:
        newest, printed = since, set[str]()
        answered_at = time.monotonic()
        finished = False
        while not finished:
            finished = self._done.wait(LOOK_SECONDS)
            try:
                found = books.landed_fires(max(since, newest - OVERLAP))
            except Exception:  # noqa: S112  # whatever a driver raises when its server is away
                continue
            self._tell_outage(time.monotonic() - answered_at)
            answered_at = time.monotonic()
            if fresh := [fire for fire in found if fire.fire_id not in printed]:
                self._news.put(Landed(fresh))
                newest = fresh[-1].finished_at
            printed = {fire.fire_id for fire in found}

    def _tell_outage(self, seconds: float) -> None:
        if seconds > NOTABLE_OUTAGE_SECONDS:
            self._news.put(Outage(seconds))


def books_of(settings: Settings) -> Books:
    """The real books. Imported late: it takes a second, which other parts can use to start."""
    from schedules_pipeline.dev.books import LedgerBooks

    return LedgerBooks(settings)


def explain(error: Exception) -> str:
    """An error in one line for the terminal."""
    if isinstance(error, SchedulesError):
        return str(error)
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
