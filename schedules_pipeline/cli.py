"""The command `schedules`. Each command imports what it needs itself: `--help` answers at once."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schedules_pipeline.errors import SchedulesError, StartupError, Unavailable

if TYPE_CHECKING:
    from schedules_pipeline.wiring import Wiring

PORT = click.IntRange(0, 65535)


class Instant(click.ParamType[datetime]):
    """An ISO 8601 date and time; without an offset it is UTC, as in the REST API."""

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The instant, in UTC."""
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return aware.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no instant, such as 2026-06-24T09:00:00Z.", param, ctx)


INSTANT = Instant()


@contextmanager
def _wiring() -> "Iterator[Wiring]":
    """The parts, for a command that asks the database once or twice.

    Where no database is named, that of the `schedules dev` that runs in the home.
    """
    from schedules_pipeline.dev.home import Home
    from schedules_pipeline.dev.postgres import EmbeddedPostgres
    from schedules_pipeline.settings import Settings
    from schedules_pipeline.wiring import Wiring

    settings = Settings.load()
    embedded = EmbeddedPostgres(Home(settings.home.resolve()).postgres)
    if settings.database_url is None and embedded.running():
        settings = settings.model_copy(update={"database_url": embedded.url})
    wiring = Wiring(settings, pool_size=1)
    try:
        yield wiring
    finally:
        wiring.close()


class Group(click.Group):
    """Turns an error that we raise on purpose into one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SchedulesError as error:
            click.echo(f"schedules: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="schedules-pipeline", prog_name="schedules")
def main() -> None:
    """Recurring runs for AI agents: on time, once, and every occurrence accounted for."""


@main.command()
@click.option("--api-port", type=PORT, help="Port of the REST API; 0: a free one.  [8000]")
@click.option("--ui-port", type=PORT, help="Port of the Dagster UI; 0: a free one.  [3000]")
@click.option("--home", type=click.Path(path_type=Path), help="Folder for state.  [.schedules]")
@click.option("--demo/--no-demo", default=None, help="Demo agents with a schedule each.  [demo]")
def dev(api_port: int | None, ui_port: int | None, home: Path | None, demo: bool | None) -> None:
    """Run everything here: PostgreSQL, Dagster, the REST API, demo agents.

    An option wins over its variable: SCHEDULES_API_PORT, SCHEDULES_UI_PORT, SCHEDULES_HOME,
    SCHEDULES_DEMO. With SCHEDULES_DATABASE_URL set, that database is used instead of one in HOME.
    """
    from schedules_pipeline.dev.supervisor import run
    from schedules_pipeline.settings import Settings

    given = {"api_port": api_port, "ui_port": ui_port, "home": home, "demo": demo}
    chosen = {name: value for name, value in given.items() if value is not None}
    run(Settings.load().model_copy(update=chosen))


@main.command()
def migrate() -> None:
    """Bring the tables up to date, and create Dagster's database beside ours."""
    from schedules_pipeline.dev.databases import dagster_url, ensure_database
    from schedules_pipeline.settings import Settings
    from schedules_pipeline.wiring import Wiring

    settings = Settings.load()
    wiring = Wiring(settings)
    ensure_database(wiring.database_url)
    ensure_database(dagster_url(settings))
    wiring.migrate()
    wiring.close()
    click.echo("The tables are up to date.")


@main.command()
def serve() -> None:
    """Serve the REST API on SCHEDULES_API_HOST:SCHEDULES_API_PORT."""
    from schedules_pipeline.api import serving as api
    from schedules_pipeline.api.app import create_app
    from schedules_pipeline.dev.ports import is_taken
    from schedules_pipeline.settings import Settings
    from schedules_pipeline.wiring import API_STATEMENT_SECONDS, Wiring

    settings = Settings.load()
    wiring = Wiring(settings, statement_seconds=API_STATEMENT_SECONDS)
    assert wiring.database_url  # raises when none is set
    settings.require_guarded()
    if is_taken(settings.api_host, settings.api_port):
        raise StartupError(
            f"Port {settings.api_port} on {settings.api_host} is taken: set SCHEDULES_API_PORT."
        )
    _warn_of_ownerless(wiring)
    try:
        api.serve(create_app(wiring), settings.api_host, settings.api_port)
    finally:
        wiring.close()


def _warn_of_ownerless(wiring: "Wiring") -> None:
    """At the start, before anybody wonders. A database that is away is `/readyz`'s business."""
    from schedules_pipeline.settings import Auth

    if wiring.settings.auth is Auth.API_KEY:
        with suppress(Unavailable):
            if warning := wiring.adoption.warning():
                click.echo(f"schedules: {warning}", err=True)


@main.command()
@click.argument("cron")
@click.option("--tz", default="UTC", show_default=True, help="IANA zone to read it in.")
@click.option("--count", type=click.IntRange(1, 1_000), default=10, show_default=True)
@click.option("--from", "after", type=INSTANT, help="Begin after this instant.  [now]")
@click.option("--start-at", type=INSTANT, help="The window's first instant.")
@click.option("--end-at", type=INSTANT, help="The window's last instant.")
@click.option(
    "--exclude", multiple=True, metavar="CRON", help="Leave out what matches; repeatable."
)
@click.option("--day-match", type=click.Choice(["either", "all"]), default="either")
@click.option("--dst-gap", type=click.Choice(["run_after", "skip"]), default="run_after")
@click.option("--dst-fold", type=click.Choice(["first", "last", "both"]), default="first")
def preview(
    cron: str,
    tz: str,
    count: int,
    after: datetime | None,
    start_at: datetime | None,
    end_at: datetime | None,
    exclude: tuple[str, ...],
    day_match: str,
    dst_gap: str,
    dst_fold: str,
) -> None:
    """Show what a CRON expression will do, in local time, with marks. Needs no database.

    CRON: 5 fields, 6 with a year, 7 with seconds first, @daily, '@every 90m', 'CRON_TZ=…' before.
    """
    from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, DstFold, DstGap
    from schedules_pipeline.services.previewing import Span, explain, table

    cadence = Cadence(
        cron_expression=cron,
        timezone=tz,
        start_at=start_at,
        end_at=end_at,
        exclude_cron=exclude,
        cron_day_match=CronDayMatch(day_match),
        dst_gap=DstGap(dst_gap),
        dst_fold=DstFold(dst_fold),
    )
    # No database is asked, so it is this machine's clock that says where "now" is.
    now = datetime.now(UTC)  # noqa: TID251
    click.echo(table(explain(cadence, Span(after=after, count=count), now)))


@main.command()
@click.argument("agent")
@click.argument("schedule")
@click.option("--from", "from_at", type=INSTANT, required=True, help="Inclusive.")
@click.option("--to", "to_at", type=INSTANT, required=True, help="Inclusive.")
@click.option("--allow-all", is_flag=True, help="At once, instead of one after another.")
@click.option("--force", is_flag=True, help="Once more what was delivered or skipped.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
def backfill(
    agent: str,
    schedule: str,
    from_at: datetime,
    to_at: datetime,
    allow_all: bool,
    force: bool,
    dry_run: bool,
) -> None:
    """Deliver what the SCHEDULE of an AGENT (both by name) did not deliver in a range of the past.

    At most 10,000 occurrences at a time.
    """
    from schedules_pipeline.services.backfilling import BackfillOrder

    order = BackfillOrder(from_at=from_at, to_at=to_at, allow_all=allow_all, force=force)
    with _wiring() as wiring:
        agent_id = wiring.agents.get_by_name(agent).id
        schedule_id = wiring.schedules.get_by_name(agent_id, schedule).schedule.id
        if dry_run:
            would = wiring.backfills.forecast(agent_id, schedule_id, order)
            click.echo(
                f"{would.instants} occurrences: {would.new} new, {would.redriven} redriven, "
                f"{would.forced} forced, {would.left} left as they are. Nothing was changed."
            )
            return
        made = wiring.backfills.start(agent_id, schedule_id, order, {"principal_type": "cli"})
        click.echo(f"Backfill {made.id}: {made.instants_count} occurrences.")


@main.group()
def keys() -> None:
    """Keys to the REST API, for SCHEDULES_AUTH=api_key."""


@keys.command("create")
@click.option("--principal", required=True, help="Whose: a person or a program, by name.")
@click.option(
    "--role", type=click.Choice(["viewer", "editor", "admin"]), help="Of a principal that is new."
)
@click.option("--expires", type=INSTANT, help="When it ends to open.  [never]")
def create_key(principal: str, role: str | None, expires: datetime | None) -> None:
    """Make a key and show it: now, and never again. Only a hash of it is kept."""
    from schedules_pipeline.services.principals_port import Role

    with _wiring() as wiring:
        made = wiring.keys.create(principal, None if role is None else Role(role), expires)
    click.echo(f"Key {made.id} of {made.principal} ({made.role}), shown only now:", err=True)
    click.echo(made.key)


@keys.command("list")
def list_keys() -> None:
    """All keys: by whom, until when, last used. What opens is not among it."""
    from schedules_pipeline.services.issuing import table

    with _wiring() as wiring:
        click.echo(table(wiring.keys.list()))


@keys.command("revoke")
@click.argument("key_id", required=False)
@click.option("--principal", help="Revoke this one for good, with all its keys.")
def revoke_key(key_id: str | None, principal: str | None) -> None:
    """Revoke one key by its id, or a whole principal. It counts from the next request on.

    A principal without a key that opens has no schedules that fire.
    """
    if (key_id is None) == (principal is None):
        raise click.UsageError("Name either a key's id or --principal.")
    with _wiring() as wiring:
        if key_id is not None:
            wiring.keys.revoke(key_id)
        if principal is not None:
            wiring.keys.revoke_principal(principal)
    click.echo("Revoked.")


@keys.command("adopt")
@click.option("--principal", required=True, help="Who becomes the creator.")
@click.option("--from", "giver", help="Of the schedules of this principal.  [of nobody]")
def adopt_schedules(principal: str, giver: str | None) -> None:
    """Make a principal the creator of schedules whose creator cannot be asked about.

    Schedules that were made while SCHEDULES_AUTH was none have no creator: under api_key they do
    not fire until somebody adopts them. Those of a revoked principal can be handed over.
    """
    with _wiring() as wiring:
        adopted = wiring.adoption.adopt(principal, giver)
    click.echo(f"Adopted by {principal}: {adopted}.")


@main.command()
@click.argument("agent_id")
@click.argument("schedule_id")
@click.option("--from", "since", type=INSTANT, help="First instant.  [a day before --to]")
@click.option("--to", "until", type=INSTANT, help="Last instant.  [now]")
def audit(agent_id: str, schedule_id: str, since: datetime | None, until: datetime | None) -> None:
    """Account for every occurrence of a schedule, deleted ones too.

    Exits with 1 when there is a hole: an occurrence that nothing explains.
    """
    from schedules_pipeline.services.coverage import Audits, report

    with _wiring() as wiring:
        audits = Audits(wiring.store)
        coverage = audits.of_schedule(agent_id, schedule_id, since, until)
        click.echo(report(coverage, audits.count_overdue()))
    if coverage.holes:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
