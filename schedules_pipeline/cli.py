"""The command `schedules`. Each command imports what it needs itself: `--help` answers at once."""

from pathlib import Path
from typing import Any

import click

from schedules_pipeline.errors import SchedulesError, StartupError

PORT = click.IntRange(0, 65535)


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
    import uvicorn

    from schedules_pipeline.api.app import create_app
    from schedules_pipeline.dev.ports import is_taken
    from schedules_pipeline.settings import Settings
    from schedules_pipeline.wiring import Wiring

    settings = Settings.load()
    wiring = Wiring(settings)
    assert wiring.database_url  # raises when none is set
    if is_taken(settings.api_host, settings.api_port):
        raise StartupError(
            f"Port {settings.api_port} on {settings.api_host} is taken: set SCHEDULES_API_PORT."
        )
    try:
        uvicorn.run(
            create_app(wiring),
            host=settings.api_host,
            port=settings.api_port,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    finally:
        wiring.close()


if __name__ == "__main__":
    main()
