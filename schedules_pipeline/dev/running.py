"""One part at work: started, watched, and started again when it dies."""

import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from schedules_pipeline.dev.home import Home, Record
from schedules_pipeline.dev.parts import Part
from schedules_pipeline.dev.processes import describe_exit, spawn
from schedules_pipeline.dev.voice import Voice, printable
from schedules_pipeline.errors import StartupError
from schedules_pipeline.launcher.identity import born

# A part that lived this long died of something that may be over: it is started again at once.
LONG_LIFE_SECONDS = 10.0
FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
# From this many short lives in a row on, the log's end is shown.
CRASH_LOOP = 3
TAIL_LINES = 5
LOG_BYTES = 5_000_000


class RunningPart:
    """A part and its present process, if it has one. Not for use from several threads."""

    def __init__(self, part: Part, home: Home, voice: Voice) -> None:
        self.part = part
        self.was_ready = False
        self._home = home
        self._voice = voice
        self._process: subprocess.Popen[bytes] | None = None
        self._born = ""
        self._started_at = 0.0
        self._ready = False
        self._start_at: float | None = None
        self._short_lives = 0

    @property
    def record(self) -> Record | None:
        """Its process, for the next supervisor; None while it has none."""
        if self._process is None:
            return None
        return Record(self._process.pid, self._born, self.part.whole_group)

    @property
    def is_ready(self) -> bool:
        """Whether its present process is ready."""
        return self._ready

    def begin(self) -> None:
        """Start it for the first time.

        Errors: StartupError when it cannot even be prepared.
        """
        self._start()

    @property
    def has_begun(self) -> bool:
        """Whether its first start was begun."""
        return self._started_at > 0

    def look(self) -> bool:
        """See how it is and do what is due; answers whether its process changed."""
        if self._process is None:
            return self._restart_if_due()
        code = self._process.poll()
        if code is not None:
            self._bury(code)
            return True
        if not self._ready and self.part.is_ready(self._process.pid):
            self._ready = self.was_ready = True
            self._voice.part(self.part.name, f"ready after {self._age():.1f} s")
        return False

    def replace(self, why: str) -> None:
        """End its process (that one alone, never its group) and start it again."""
        if self._process is None:
            return
        self._voice.part(self.part.name, f"restarted: {why}")
        # SIGTERM would leave a code server serving until its last run is over.
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        self._start()

    def keep_log_small(self) -> None:
        """Move a log that grew large aside, and go on in the same file.

        The part holds it open for appending: what it writes between the copy and the cut is lost.
        """
        log = self._log
        with suppress(OSError):
            if log.stat().st_size > LOG_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                with log.open("r+b") as file:
                    file.truncate(0)

    @property
    def _log(self) -> Path:
        return self._home.log(self.part.log)

    def _age(self) -> float:
        return time.monotonic() - self._started_at

    def _start(self) -> None:
        self._start_at = None
        self._ready = False
        self._started_at = time.monotonic()
        self.keep_log_small()
        self.part.prepare()
        self._process = spawn(
            self.part.command,
            log=self._log,
            environment=self.part.environment,
            death_signal=signal.SIGKILL if self.part.dies_with_us else None,
            user=self.part.user,
            cwd=self._home.dagster,
        )
        self._born = born(self._process.pid) or ""

    def _restart_if_due(self) -> bool:
        if self._start_at is None or time.monotonic() < self._start_at:
            return False
        try:
            self._start()
        except StartupError as error:
            self._short_lives += 1
            self._plan_restart(str(error))
            return False
        self._voice.part(self.part.name, "restarted")
        return True

    def _bury(self, code: int) -> None:
        lived_long = self._ready and self._age() >= LONG_LIFE_SECONDS
        self._short_lives = 0 if lived_long else self._short_lives + 1
        self._process = None
        self._ready = False
        self._plan_restart(f"died ({describe_exit(code)})")

    def _plan_restart(self, what: str) -> None:
        delay = min(FIRST_DELAY_SECONDS * 3 ** max(0, self._short_lives - 1), LONGEST_DELAY_SECONDS)
        self._start_at = time.monotonic() + delay
        self._voice.part(self.part.name, f"{what}; restart in {delay:.1f} s")
        if self._short_lives >= CRASH_LOOP:
            self._voice.say(f"    it keeps dying; {self._log} ends:")
            for line in tail(self._log):
                self._voice.say(f"    | {printable(line)}")


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 8_192))
        return file.read().decode(errors="replace").splitlines()[-lines:]
    return []
