"""`schedules dev`: starts the parts, watches them, tells what happens, and stops them all."""

import ctypes
import signal
import sys
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from types import FrameType

from schedules_pipeline.dev.home import Home, Record
from schedules_pipeline.dev.host_clock import HostClock
from schedules_pipeline.dev.ledger import (
    Books,
    Failed,
    Landed,
    LedgerWatch,
    News,
    Outage,
    Prepared,
    books_of,
    explain,
)
from schedules_pipeline.dev.parts import (
    CODE_SERVER,
    DAEMON,
    DATABASES,
    DEMO_ASYNC,
    DEMO_SYNC,
    POSTGRES,
    Part,
    all_parts,
)
from schedules_pipeline.dev.ports import HOST, free_port, is_taken
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.dev.running import RunningPart
from schedules_pipeline.dev.stopping import reap, runs, stop_house
from schedules_pipeline.dev.voice import Voice
from schedules_pipeline.errors import StartupError
from schedules_pipeline.settings import Settings

PR_SET_CHILD_SUBREAPER = 36
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How often to look while something is expected, and when nothing is (a child's death wakes us).
EAGER_SECONDS = 0.1
CALM_SECONDS = 1.0
LOG_CARE_SECONDS = 60.0

PartsOf = Callable[[Settings, Home, EmbeddedPostgres | None, dict[str, int]], list[Part]]


def run(
    settings: Settings,
    voice: Voice | None = None,
    parts_of: PartsOf = all_parts,
    open_books: Callable[[Settings], Books] = books_of,
) -> None:
    """Run the whole house until a signal asks to stop.

    Errors: StartupError when it cannot start; then nothing is left running.
    """
    settings.require_guarded()
    voice = voice or Voice()
    home = Home.make(settings.home)
    with home.locked():
        settings = settings.model_copy(update={"home": home.path})
        postgres = None
        if settings.database_url is None:
            postgres = EmbeddedPostgres(home.postgres, log=home.log(POSTGRES))
            settings = settings.model_copy(
                update={"database_url": postgres.url, "dagster_url": None}
            )
        _stop_leftovers(home, postgres, voice)
        settings = _with_free_ports(settings)
        home.write_dagster_files()
        ports = {name: free_port() for name in (DEMO_ASYNC, DEMO_SYNC)} if settings.demo else {}
        urls = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
        parts = parts_of(settings, home, postgres, ports)
        voice.say(f"schedules dev on {home.path}")
        try:
            Supervisor(settings, home, parts, urls, voice, open_books).run()
        finally:
            home.remove_short_directory()


class Supervisor:
    """The main thread: the only one that starts, watches, stops and prints."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        parts: Iterable[Part],
        agent_urls: dict[str, str],
        voice: Voice,
        open_books: Callable[[Settings], Books],
    ) -> None:
        self._settings = settings
        self._home = home
        self._voice = voice
        self._parts = {part.name: RunningPart(part, home, voice) for part in parts}
        self._news: SimpleQueue[News | None] = SimpleQueue()
        self._agent_urls = agent_urls
        self._open_books = open_books
        self._watch: LedgerWatch | None = None
        self._databases_ready = False
        self._announced = False
        self._logs_seen_at = time.monotonic()
        self._host_clock = HostClock()
        self._stop_asked: signal.Signals | None = None

    def run(self) -> None:
        """Start everything, and stop everything when a signal says so.

        Errors: StartupError; then nothing is left running.
        """
        _adopt_orphans()
        self._listen_to_signals()
        try:
            while self._stop_asked is None:
                self._look()
                self._bear_a_clock_set_back()
                self._keep_logs_small()
                self._hear()
        finally:
            self._stop()

    def _look(self) -> None:
        changed = [self._begin(part) or part.look() for part in self._parts.values()]
        if any(changed):
            self._home.write_records(self._records())
        if self._watch is None and self._serves_now(POSTGRES):
            self._watch = LedgerWatch(
                self._settings, self._agent_urls, self._news, self._open_books
            )
            self._watch.start()
        ready = self._databases_ready and all(part.was_ready for part in self._parts.values())
        if ready and not self._announced:
            self._announce()
        reap({record.pid for record in self._records().values()})

    def _begin(self, part: RunningPart) -> bool:
        if part.has_begun or not all(self._is_ready(name) for name in part.part.after):
            return False
        part.begin()
        return True

    def _is_ready(self, name: str) -> bool:
        if name == DATABASES:
            return self._databases_ready
        # A part that is not ours to run (PostgreSQL when a URL is set) is somebody else's care.
        return name not in self._parts or self._parts[name].was_ready

    def _serves_now(self, name: str) -> bool:
        return name not in self._parts or self._parts[name].is_ready

    def _hear(self) -> None:
        """Wait for news, a signal or the time of the next look, and act on all there is."""
        calm = self._announced and all(part.is_ready for part in self._parts.values())
        try:
            news = self._news.get(timeout=CALM_SECONDS if calm else EAGER_SECONDS)
            while True:
                self._act_on(news)
                news = self._news.get_nowait()
        except Empty:
            return

    def _act_on(self, news: News | None) -> None:
        match news:
            case Prepared():
                self._databases_ready = True
                self._voice.part(DATABASES, "ready")
            case Failed(error):
                self._give_up_or_try_again(error)
            case Landed(fires):
                for fire in fires:
                    self._voice.fire(fire)
            case Outage(seconds):
                self._recover_from(seconds)
            case None:  # a signal, only to wake us
                pass

    def _give_up_or_try_again(self, error: Exception) -> None:
        if POSTGRES in self._parts:
            self._parts[POSTGRES].look()
        if self._serves_now(POSTGRES):
            raise StartupError(explain(error)) from error
        # Our own server died under it and comes back: then the next look begins anew.
        self._watch = None

    def _recover_from(self, outage_seconds: float) -> None:
        # A code server loses the thread that watches its runs when PostgreSQL is away this long;
        # a run that dies later would be shown as started for ever.
        self._voice.say(f"  the database was away for {outage_seconds:.0f} s")
        if CODE_SERVER in self._parts:
            self._parts[CODE_SERVER].replace("the database was away")
            self._home.write_records(self._records())

    def _bear_a_clock_set_back(self) -> None:
        # Dagster's daemon sleeps from one look at its sensors to the next by the time of day: a
        # look during which that is set back by an hour is followed by an hour's sleep.
        seconds = self._host_clock.set_back_seconds()
        if seconds and DAEMON in self._parts:
            self._parts[DAEMON].replace(f"the host's clock was set back by {seconds:.0f} s")
            self._home.write_records(self._records())

    def _keep_logs_small(self) -> None:
        if time.monotonic() - self._logs_seen_at > LOG_CARE_SECONDS:
            self._logs_seen_at = time.monotonic()
            for part in self._parts.values():
                part.keep_log_small()

    def _announce(self) -> None:
        self._announced = True
        self._voice.say()
        self._voice.say(f"REST API    http://{self._settings.api_host}:{self._settings.api_port}")
        self._voice.say(f"Dagster UI  http://{HOST}:{self._settings.ui_port}")
        self._voice.say(f"Logs        {self._home.logs}")
        self._voice.say("Ctrl-C stops everything. Fires, as they land:")
        self._voice.say()
        self._voice.headings()

    def _records(self) -> dict[str, Record]:
        records = {name: part.record for name, part in self._parts.items()}
        return {name: record for name, record in records.items() if record}

    def _listen_to_signals(self) -> None:
        for number in STOP_SIGNALS:
            # Under `nohup`, a closed terminal is none of our business.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, self._on_child)

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        # `make` may pass on what the terminal sent to everyone: a second one changes nothing.
        self._stop_asked = self._stop_asked or signal.Signals(number)
        self._news.put(None)

    def _on_child(self, _number: int, _frame: FrameType | None) -> None:
        self._news.put(None)

    def _stop(self) -> None:
        records = self._records()
        if self._stop_asked:
            self._voice.say(f"\nStopping ({self._stop_asked.name}) …")
        left = stop_house(self._home, records, before_postgres=self._last_look)
        reap(())
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            self._voice.say(f"Stopped, but these do not end: {pids}. The next start tries again.")
            return
        self._home.write_records({})
        self._voice.say("Stopped; nothing is left running.")

    def _last_look(self) -> None:
        if self._watch:
            self._watch.finish()
        while not self._news.empty():
            news = self._news.get()
            if isinstance(news, Landed):
                self._act_on(news)


def _stop_leftovers(home: Home, postgres: EmbeddedPostgres | None, voice: Voice) -> None:
    """Stop what a supervisor that was killed left running on this home."""
    records = {n: r for n, r in home.read_records().items() if r.identity.is_alive()}
    # PostgreSQL's own pid file is the better witness, and names another user's process too.
    records.pop(POSTGRES, None)
    server = postgres.running() if postgres else None
    if server:
        records[POSTGRES] = Record(server.pid, server.born, whole_group=False)
    found = list(records) + ["Dagster run"] * len(runs(home, records))
    if found or home.processes():
        voice.say(f"Stopping what an earlier run left on this home: {', '.join(found)}")
        stop_house(home, records)


def _with_free_ports(settings: Settings) -> Settings:
    """The ports to use: those that were asked for, or free ones for 0.

    Errors: StartupError that names each that is taken.
    """
    api, ui = settings.api_port or free_port(), settings.ui_port or free_port()
    taken = []
    if is_taken(settings.api_host, api):
        taken.append(f"port {api} (REST API: --api-port, SCHEDULES_API_PORT)")
    if ui == api or is_taken(HOST, ui):
        taken.append(f"port {ui} (Dagster UI: --ui-port, SCHEDULES_UI_PORT)")
    if taken:
        raise StartupError(f"Already taken: {'; '.join(taken)}. Nothing was started.")
    return settings.model_copy(update={"api_port": api, "ui_port": ui})


def _adopt_orphans() -> None:
    """Have the runs of a dead code server become our children rather than init's.

    Then they are reaped even in a container whose first process does not do that. Linux only.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
