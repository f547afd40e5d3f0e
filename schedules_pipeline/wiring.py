"""The composition root: which implementation serves which port. Nothing is opened before use.

HTTP clients and Alembic are imported where they are used: of the processes that stand for days,
most never do, and they would cost each 10 to 20 MiB.
"""

import resource
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from schedules_pipeline.access.agents import AgentsApart, AgentsToo
from schedules_pipeline.access.fire_keys import KeyHoldersMay
from schedules_pipeline.access.fire_provider import ProviderSays
from schedules_pipeline.access.keys import Keys as KeyAuthenticator
from schedules_pipeline.access.keys import Roles
from schedules_pipeline.access.nobody import NobodyAsks
from schedules_pipeline.access.provider import ProviderAuthenticator, ProviderAuthorizer
from schedules_pipeline.access.throttling import Throttled
from schedules_pipeline.errors import StartupError
from schedules_pipeline.services.access_port import Authenticator, Authorizer, FireAccess
from schedules_pipeline.services.adopting import Adoption
from schedules_pipeline.services.backfilling import Backfills
from schedules_pipeline.services.demo import seed_demo
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.dispatching import Dispatcher, DispatchRules
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.fire_delivery import DeliveryRules
from schedules_pipeline.services.issuing import Keys
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import PlanningRules
from schedules_pipeline.services.platform_port import AgentLine
from schedules_pipeline.services.registering import Agents
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.services.waiting import WaitingClock
from schedules_pipeline.settings import Auth, Settings, with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.store.version import is_migrated

if TYPE_CHECKING:
    from schedules_pipeline.delivery.acp import Timeouts
    from schedules_pipeline.delivery.local import LocalPlatform
    from schedules_pipeline.delivery.provider import ProviderClient

API_CONNECTIONS = 10
API_STATEMENT_SECONDS = 10.0


class Wiring:
    """One process's parts."""

    def __init__(
        self,
        settings: Settings,
        *,
        pool_size: int = API_CONNECTIONS,
        statement_seconds: float | None = None,
    ) -> None:
        """`pool_size`: connections to the database, at most 10 for the API, 3 for a run.

        `statement_seconds`: no statement may take longer; None: any may.
        """
        self.settings = settings
        self._pool_size = pool_size
        self._statement_seconds = statement_seconds

    @property
    def database_url(self) -> str:
        """For our own driver. Errors: StartupError when no database is named."""
        if self.settings.database_url is None:
            raise StartupError(
                "SCHEDULES_DATABASE_URL is not set. Set it to a PostgreSQL >= 14, or use "
                "`schedules dev`, which brings one of its own."
            )
        return with_driver(self.settings.database_url, "psycopg")

    @cached_property
    def store(self) -> PostgresStore:
        """The database."""
        return PostgresStore(
            self.database_url,
            pool_size=self._pool_size,
            statement_seconds=self._statement_seconds,
        )

    @cached_property
    def rules(self) -> PlanningRules:
        """Horizon and grace."""
        return PlanningRules(
            horizon=timedelta(seconds=self.settings.horizon_seconds),
            grace=timedelta(seconds=self.settings.grace_seconds),
        )

    @cached_property
    def clock(self) -> Clock:
        """One tick."""
        standby = self.settings.standby
        return Clock(self.store, self.rules, self.tasks.not_final, standby=standby)

    @cached_property
    def waiting_clock(self) -> WaitingClock:
        """The same, until there is something to start."""
        patience = self.settings.tick_wait_seconds
        return WaitingClock(self.clock, self.store.ear, patience_seconds=patience)

    @contextmanager
    def dispatcher(
        self, dagster_run_id: str, slice_key: str, *, by_person: bool = False
    ) -> Iterator[Dispatcher]:
        """A Dagster run's work on its slice: begun here, finished at the end."""
        _allow_many_open_files()
        dispatch = Dispatch(self.store, dagster_run_id, slice_key)
        dispatch.begin(by_person=by_person)
        try:
            yield Dispatcher(
                self.store,
                dispatch,
                self._platform,
                self._fire_access,
                self._dispatch_rules(),
                self.store.ear,
            )
        finally:
            dispatch.finish()

    @cached_property
    def agents(self) -> Agents:
        """The use cases of agents."""
        return Agents(self.store)

    @cached_property
    def schedules(self) -> Schedules:
        """The use cases of schedules."""
        return Schedules(self.store, self.rules)

    @cached_property
    def backfills(self) -> Backfills:
        """The use cases of backfills."""
        return Backfills(self.store)

    @cached_property
    def tasks(self) -> Tasks:
        """The use cases of tasks."""
        return Tasks(self.store)

    @cached_property
    def keys(self) -> Keys:
        """The use cases of keys to the API."""
        return Keys(self.store)

    @cached_property
    def adoption(self) -> Adoption:
        """The use cases of schedules whose creator is gone."""
        return Adoption(self.store, Editor(self.store, self.rules))

    @property
    def guarded(self) -> bool:
        """Whether anybody is asked who they are."""
        return self.settings.auth is not Auth.NONE

    @cached_property
    def authenticator(self) -> Authenticator:
        """Who says who asks."""
        match self.settings.auth:
            case Auth.NONE:
                return NobodyAsks()
            case Auth.API_KEY:
                return Throttled(AgentsToo(self.store, KeyAuthenticator(self.store)))
            case Auth.AGENTEX:
                asking = ProviderAuthenticator(self._provider)
                return Throttled(AgentsToo(self.store, asking))

    @cached_property
    def authorizer(self) -> Authorizer:
        """Who says what they may do."""
        match self.settings.auth:
            case Auth.NONE:
                return NobodyAsks()
            case Auth.API_KEY:
                return AgentsApart(self.store, Roles())
            case Auth.AGENTEX:
                return AgentsApart(self.store, ProviderAuthorizer(self._provider))

    @cached_property
    def _provider(self) -> "ProviderClient":
        from schedules_pipeline.delivery.provider import ProviderClient

        return ProviderClient(self._auth_url)

    @property
    def _auth_url(self) -> str:
        assert self.settings.auth_url is not None, "the settings insist on it"
        return self.settings.auth_url

    def seed_demo(self, agent_urls: Mapping[str, str]) -> None:
        """Register the demo agents, by name, with a schedule each."""
        seed_demo(self.agents, self.schedules, agent_urls)

    def migrate(self) -> None:
        """Bring the tables up to date."""
        from schedules_pipeline.store.migrate import migrate

        migrate(self.database_url)

    def is_migrated(self) -> bool:
        """Whether the tables are those that this code needs. Errors: Unavailable."""
        return self.store.on_connection(is_migrated)

    def close(self) -> None:
        """Give the connections back."""
        if "store" in self.__dict__:
            self.store.close()
        if "_provider" in self.__dict__:
            self._provider.close()

    def agent_line(self) -> AgentLine:
        """To agents, for what is asked of them by hand. It belongs to the event loop that uses it,
        and is closed there.
        """
        from schedules_pipeline.delivery.acp import AcpClient

        _allow_many_open_files()
        return AcpClient(self._timeouts())

    def _platform(self) -> "LocalPlatform":
        from schedules_pipeline.delivery.local import LocalPlatform

        return LocalPlatform(self._timeouts(), self.tasks)

    def _timeouts(self) -> "Timeouts":
        from schedules_pipeline.delivery.acp import Timeouts

        return Timeouts(
            connect=self.settings.connect_timeout_seconds,
            request=self.settings.request_timeout_seconds,
            turn=self.settings.turn_timeout_seconds,
        )

    def _fire_access(self) -> FireAccess | None:
        match self.settings.auth:
            case Auth.NONE:
                return None
            case Auth.API_KEY:
                return KeyHoldersMay(self._may_fire)
            case Auth.AGENTEX:
                from schedules_pipeline.delivery.fire_provider import FireProviderClient

                return ProviderSays(FireProviderClient(self._auth_url))

    def _may_fire(self, names: Collection[str]) -> Collection[str]:
        return self.store.run(lambda tx: tx.principals.may_fire(names))

    def _dispatch_rules(self) -> DispatchRules:
        return DispatchRules(
            grace=timedelta(seconds=self.settings.grace_seconds),
            delivery=DeliveryRules(retry_wait_seconds=self.settings.retry_wait_seconds),
        )


def _allow_many_open_files() -> None:
    """Use what this process may use: 64 hung requests per agent are files that stay open.

    A soft limit of 1,024, usual for services, is full after a dozen such agents.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
