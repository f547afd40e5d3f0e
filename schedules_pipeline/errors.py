"""Every error this package raises on purpose.

    SchedulesError                    500  the root: catch this to catch them all
    ├── InvalidInput                  422  what was asked makes no sense; names field and fix
    │   └── InvalidCadence            422  … the cadence (cron, interval, zone, window)
    ├── Rejected                      400  well-formed, but the present state forbids it
    ├── Unauthorized                  401  whoever asks has not said who they are, or not credibly
    ├── PermissionDenied              403  you may see it, but not do this to it
    ├── NotFound                      404  no such agent, schedule, fire …
    ├── InProgress                    409  the same Idempotency-Key is being worked on; repeat it
    ├── Stale                         412  If-Match names another version than the present one
    ├── TooManyFailures               429  wrong credentials again and again; says when to come back
    ├── ProviderTrouble               any  the authorization provider's own error, passed on
    ├── Unavailable                   503  try again: the database is away, busy or not migrated
    │   ├── SchemaMissing             503  tables missing or old: run `schedules migrate`
    │   ├── Busy                      503  a row stayed locked for longer than 3 s
    │   └── AnotherTick               —    another tick is running: this one emits nothing
    ├── DispatchEnded                 —    this Dagster run was declared dead: send nothing more
    ├── FiresFailed                   —    a slice has failed fires; its Dagster run turns red
    ├── NoWarmProcess                 —    nobody forks this Dagster run: it is started cold
    ├── StartupError                  —    a command cannot start; says what to change
    └── DeliveryError                 —    one attempt at an agent went wrong; `reason` says how
        ├── Unreachable               —    refused or unresolvable: nothing was written
        ├── AgentError                —    the agent answered with an error
        ├── BadReply                  —    the agent's answer is not what the protocol asks for
        └── TimedOut                  —    no answer in time; what was written may have been read

`http_status` is what the REST API answers; "—" never reaches it.
"""


class SchedulesError(Exception):
    """The root of the tree. Its text is written for the person who reads it."""

    http_status: int = 500


class InvalidInput(SchedulesError):
    """What was asked makes no sense. `field` is the name the caller used."""

    http_status = 422

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class InvalidCadence(InvalidInput):
    """The cadence cannot be understood, or never occurs."""


class Rejected(SchedulesError):
    """Well-formed, but the present state forbids it."""

    http_status = 400


class Unauthorized(SchedulesError):
    """Whoever asks has not said who they are, or not credibly. Which of it, nobody is told."""

    http_status = 401

    def __init__(self, text: str = "Unauthorized") -> None:
        super().__init__(text)


class NotFound(SchedulesError):
    """There is no such thing (or it is not yours to see)."""

    http_status = 404


class PermissionDenied(SchedulesError):
    """Whoever asks may not do this. At fire time: the schedule's creator may not any more."""

    http_status = 403


class InProgress(SchedulesError):
    """Another request with the same Idempotency-Key is under way."""

    http_status = 409

    def __init__(self) -> None:
        super().__init__(
            "Another request with this Idempotency-Key is being worked on; repeat yours in a "
            "second."
        )


class Stale(SchedulesError):
    """The schedule has changed since the caller looked."""

    http_status = 412

    def __init__(self, schedule_id: str, version: int) -> None:
        super().__init__(
            f"Run schedule '{schedule_id}' is at version {version}, which If-Match does not name: "
            "read it again, and repeat the change if it still makes sense."
        )


class TooManyFailures(SchedulesError):
    """Wrong credentials came from one place again and again. `retry_after_seconds`: come back."""

    http_status = 429

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            "Too many requests with wrong credentials: check them, and come back in "
            f"{retry_after_seconds} s."
        )
        self.retry_after_seconds = retry_after_seconds


class ProviderTrouble(SchedulesError):
    """The authorization provider answered, and its answer is an error, which is passed on."""

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class Unavailable(SchedulesError):
    """The same request may succeed in a moment."""

    http_status = 503


class SchemaMissing(Unavailable):
    """The tables are missing or of another version."""

    def __init__(self) -> None:
        super().__init__("The database's tables are missing or old: run `schedules migrate`.")


class Busy(Unavailable):
    """A row stayed locked for longer than the lock timeout."""


class AnotherTick(Unavailable):
    """Two ticks at once: the other one emits."""

    def __init__(self) -> None:
        super().__init__("Another tick is running.")


class DispatchEnded(SchedulesError):
    """This Dagster run was declared dead, or ended: whatever it still holds is someone else's."""


class FiresFailed(SchedulesError):
    """A slice ended with failed fires. The text names them."""


class NoWarmProcess(SchedulesError):
    """Nobody forks a process for this Dagster run; the text says why. It is started cold."""


class StartupError(SchedulesError):
    """A command cannot start; the text says what to change."""


class DeliveryError(SchedulesError):
    """One attempt at an agent went wrong.

    `reason` is what the fire's row will say. `input_written` is true when bytes of the *input* may
    have reached the agent: then nobody can know whether it was read.
    """

    reason: str = "agent_error"

    def __init__(self, message: str, *, input_written: bool = False) -> None:
        super().__init__(message)
        self.input_written = input_written


class Unreachable(DeliveryError):
    """The connection was refused or never came about: nothing was written."""

    reason = "unreachable"


class AgentError(DeliveryError):
    """The agent answered, and its answer is an error."""

    reason = "agent_error"


class BadReply(DeliveryError):
    """The agent's answer is not what the protocol asks for (not JSON, wrong id, too large)."""

    reason = "bad_reply"


class TimedOut(DeliveryError):
    """No answer in time."""

    reason = "timeout"
