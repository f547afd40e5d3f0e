"""What is asked before a request is served, and what somebody must be told of afterwards."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import NotFound, PermissionDenied, SchedulesError
from schedules_pipeline.services.access_port import (
    Authorizer,
    Operation,
    Resource,
    ResourceType,
    ids_of,
)

log = logging.getLogger("schedules.access")


class Permissions:
    """Asks the authorizer in the way that the contract wants it asked."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    @property
    def keeps_records(self) -> bool:
        """Whether somebody has to be told of what is made and deleted."""
        return self._authorizer.keeps_records

    def require(
        self, principal: JsonObject, resource: Resource, operation: Operation, absent: str
    ) -> None:
        """Errors: PermissionDenied, to those who may see it; NotFound, in the words of `absent`, to
        those who may not even that; and the authorizer's.
        """
        try:
            self._authorizer.check(principal, resource, operation)
        except PermissionDenied:
            if operation is not Operation.READ and self.may_read(principal, resource):
                raise
            raise NotFound(absent) from None

    def require_any(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Of what is no one thing, and no secret. Errors: PermissionDenied; the authorizer's."""
        self._authorizer.check(principal, resource, operation)

    def ids(
        self, principal: JsonObject, kind: ResourceType, operation: Operation
    ) -> frozenset[str] | None:
        """Ids of those that the principal may so use; None: all. Errors: the authorizer's."""
        selectors = self._authorizer.search(principal, kind, operation)
        return None if selectors is None else ids_of(kind, selectors)

    @contextmanager
    def making(self, principal: JsonObject, made: Resource, parent: Resource) -> Iterator[None]:
        """Inside, a thing is made that belongs to the principal.

        It is announced first, so that nothing ever stands here that nobody may see; if it is not
        made after all, that is taken back. Errors: the authorizer's; then nothing was done inside.
        """
        self._authorizer.register(principal, made, parent)
        try:
            self._authorizer.grant(principal, made)
        except BaseException:
            self._quietly(self._authorizer.deregister, principal, made)
            raise
        try:
            yield
        except BaseException:
            self.forget(principal, made)
            raise

    def forget(self, principal: JsonObject, gone: Resource) -> None:
        """A thing is gone. What cannot be said is logged: it is gone all the same."""
        self._quietly(self._authorizer.revoke, principal, gone)
        self._quietly(self._authorizer.deregister, principal, gone)

    def may_read(self, principal: JsonObject, resource: Resource) -> bool:
        """Whether it may be seen. Errors: the authorizer's."""
        try:
            self._authorizer.check(principal, resource, Operation.READ)
        except PermissionDenied:
            return False
        return True

    def _quietly(
        self, tell: Callable[[JsonObject, Resource], None], principal: JsonObject, gone: Resource
    ) -> None:
        try:
            tell(principal, gone)
        except SchedulesError as error:
            facts = {"resource": gone.selector, "because": str(error)}
            log.warning(
                "the authorization provider was not told that this is gone", extra={"facts": facts}
            )
