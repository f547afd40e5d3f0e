"""Agents among those who ask: each shows the key that it was given when it registered.

Under Agentex such a key may do everything. Here it may do what an agent's work takes: look at
itself, look at its own tasks, and say what became of them. For registering is open to all, and
what is given to all must open little.
"""

from collections.abc import Collection

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import PermissionDenied, Unauthorized
from schedules_pipeline.services.access_port import (
    Authenticator,
    Authorizer,
    Operation,
    Presented,
    Resource,
    ResourceType,
)
from schedules_pipeline.services.issuing import hash_of
from schedules_pipeline.services.store_port import Store

AGENT_KEY = "x-agent-api-key"
AGENT = "agent_api_key"
"""The `principal_type` of an agent; nobody else is taken for one."""
OF_A_TASK = frozenset({Operation.READ, Operation.UPDATE, Operation.CANCEL})


class AgentsToo:
    """An authenticator that knows agents, and asks another one about everybody else."""

    def __init__(self, store: Store, others: Authenticator) -> None:
        self._store = store
        self._others = others

    def authenticate(self, presented: Presented) -> JsonObject:
        """See `services.access_port.Authenticator`."""
        key = presented.headers.get(AGENT_KEY)
        if key is None:
            principal = self._others.authenticate(presented)
            if _is_agent(principal):
                raise Unauthorized
            return principal
        found = self._store.run(lambda tx: tx.agents.get_by_key_hash(hash_of(key)))
        if found is None:
            raise Unauthorized("Agent Unauthorized")
        return {"principal_type": AGENT, "service_account_id": found.id}


class AgentsApart:
    """An authorizer that decides about agents itself, and leaves everybody else to another."""

    def __init__(self, store: Store, others: Authorizer) -> None:
        self._store = store
        self._others = others
        self.keeps_records = others.keeps_records

    def check(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: see the port."""
        if not _is_agent(principal):
            self._others.check(principal, resource, operation)
        elif not self._may(str(principal["service_account_id"]), resource, operation):
            raise PermissionDenied(
                "An agent's key opens the agent itself and its own tasks, nothing else."
            )

    def search(
        self, principal: JsonObject, kind: ResourceType, operation: Operation
    ) -> Collection[str] | None:
        """Of agents, itself; its tasks. Errors: see the port."""
        if not _is_agent(principal):
            return self._others.search(principal, kind, operation)
        agent_id = str(principal["service_account_id"])
        if (kind, operation) == (ResourceType.AGENT, Operation.READ):
            return [agent_id]
        if kind is ResourceType.TASK and operation in OF_A_TASK:
            return self._store.run(lambda tx: tx.tasks.ids_of_agent(agent_id))
        return []

    def register(
        self, principal: JsonObject, resource: Resource, parent: Resource | None = None
    ) -> None:
        """What agents make is nobody's but theirs. Errors: see the port."""
        if not _is_agent(principal):
            self._others.register(principal, resource, parent)

    def deregister(self, principal: JsonObject, resource: Resource) -> None:
        """Errors: see the port."""
        if not _is_agent(principal):
            self._others.deregister(principal, resource)

    def grant(self, principal: JsonObject, resource: Resource) -> None:
        """Errors: see the port."""
        if not _is_agent(principal):
            self._others.grant(principal, resource)

    def revoke(self, principal: JsonObject, resource: Resource) -> None:
        """Errors: see the port."""
        if not _is_agent(principal):
            self._others.revoke(principal, resource)

    def _may(self, agent_id: str, resource: Resource, operation: Operation) -> bool:
        if resource == Resource.agent(agent_id):
            return operation is Operation.READ
        if resource.type is not ResourceType.TASK or operation not in OF_A_TASK:
            return False
        task = self._store.run(lambda tx: tx.tasks.get(resource.selector))
        return task is not None and task.agent_id == agent_id


def _is_agent(principal: JsonObject) -> bool:
    return principal.get("principal_type") == AGENT
