"""What a schedule's creator may still do, asked as its fire goes out."""

import asyncio
from typing import Any

import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import AgentError, PermissionDenied, TimedOut, Unavailable
from schedules_pipeline.services import fire_delivery
from schedules_pipeline.services.access_port import Operation, Resource
from schedules_pipeline.services.slots import Slots
from tests.services.story import Story, raising, see_to

EXECUTE, CREATE, UPDATE = "agent agent-1 execute", "task * create", "task task-1 update"
REGISTER = "register task-1 under agent-1"
DENIED = raising(PermissionDenied("no longer yours"))
AWAY = raising(Unavailable("The provider is away."))


class InOrder(Story):
    """Questions are events, too."""

    async def check(self, creator: JsonObject, resource: Resource, operation: Operation) -> None:
        self.events.append(f"{operation.value}?")
        await super().check(creator, resource, operation)

    async def register(self, creator: JsonObject, task: Resource, agent: Resource) -> None:
        self.events.append("register")
        await super().register(creator, task, agent)


def test_the_creator_is_asked_about_before_each_step() -> None:
    story = InOrder()
    see_to(story)
    assert story.events == [
        *("execute?", "create?", "create", "register", "task_created"),
        *("update?", "send", "delivered"),
    ]
    assert story.asked == [EXECUTE, CREATE, REGISTER, UPDATE]


@pytest.mark.parametrize(
    ("operation", "asked"),
    [
        ("execute", [EXECUTE]),
        ("create", [EXECUTE, CREATE]),
    ],
)
def test_who_may_not_start_a_task_starts_none(operation: str, asked: list[str]) -> None:
    story = Story(answers={operation: DENIED})
    see_to(story)
    assert (story.events, story.asked) == (["skipped"], asked)
    (end,) = story.outcomes
    assert (end.state, end.reason) == (FireState.SKIPPED, FireReason.PERMISSION_DENIED)
    assert (end.error, end.attempts, end.sent_at) == ("no longer yours", 1, None)


@pytest.mark.parametrize("operation", ["register", "update"])
def test_who_may_not_have_or_tell_the_task_sends_it_nothing(operation: str) -> None:
    story = Story(answers={operation: DENIED})
    see_to(story)
    assert "send" not in story.events
    assert story.outcomes[-1].reason is FireReason.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("operation", "stays"),
    [
        ("execute", FireState.CLAIMED),
        ("create", FireState.CLAIMED),
        ("register", FireState.CLAIMED),
        ("update", FireState.TASK_CREATED),
    ],
)
def test_an_answer_that_cannot_be_had_is_an_attempt_and_asked_for_again(
    operation: str, stays: FireState
) -> None:
    story = Story(answers={operation: raising(Unavailable("away"), None)})
    see_to(story)
    failed = next(outcome for outcome in story.outcomes if outcome.error)
    assert (failed.state, failed.attempts, failed.error) == (stays, 1, "away")
    assert story.events.count("send") == 1
    assert (story.outcomes[-1].state, story.outcomes[-1].attempts) == (FireState.DELIVERED, 2)
    assert not story.outcomes[-1].possible_duplicate


def test_after_five_attempts_without_an_answer_the_fire_fails_and_nothing_was_sent() -> None:
    story = Story(answers={"execute": AWAY})
    see_to(story)
    assert story.events == [*["claimed"] * 4, "failed"]
    end = story.outcomes[-1]
    assert (end.reason, end.error) == (FireReason.ACCESS_UNAVAILABLE, "The provider is away.")


def test_a_defect_of_whoever_is_asked_is_no_permission(caplog: pytest.LogCaptureFixture) -> None:
    story = Story(answers={"execute": raising(KeyError("user_id"))})
    see_to(story)
    assert "create" not in story.events
    end = story.outcomes[-1]
    assert (end.reason, end.error) == (
        FireReason.ACCESS_UNAVAILABLE,
        "Whether the schedule's creator may start this cannot be told: KeyError; see the run's "
        "log.",
    )
    assert "access: a defect in the scheduler" in caplog.text


def test_a_later_attempt_asks_anew_for_what_it_still_needs() -> None:
    story = Story(send=raising(AgentError("busy"), None))
    see_to(story)
    assert story.asked == [EXECUTE, CREATE, REGISTER, UPDATE, EXECUTE, UPDATE]


def test_what_is_taken_away_between_two_attempts_ends_the_fire_and_its_task_is_known() -> None:
    denied = raising(None, PermissionDenied("revoked meanwhile"))
    story = Story(send=raising(AgentError("busy")), answers={"execute": denied})
    see_to(story)
    assert story.events == ["create", "task_created", "send", "task_created", "skipped"]
    assert story.outcomes[-1].error == "revoked meanwhile"


@pytest.mark.parametrize("operation", ["execute", "update"])
def test_an_input_that_may_be_out_already_is_not_said_to_be_skipped(operation: str) -> None:
    story = Story(answers={operation: DENIED})
    see_to(story, task_created=True)
    assert story.events == ["look", "failed"]
    end = story.outcomes[-1]
    assert (end.reason, end.possible_duplicate) == (FireReason.DELIVERY_UNKNOWN, False)
    assert end.error == (
        "The run that held it ended between its send and the answer. So the agent may have the "
        "input, and nothing shows whether it has. It is not sent again either: no longer yours"
    )


def test_what_the_agent_shows_that_it_has_needs_no_permission() -> None:
    story = Story(shown=True, answers={"execute": DENIED})
    see_to(story, task_created=True)
    assert (story.events, story.asked) == (["look", "delivered"], [])


def test_a_denial_after_an_answer_that_was_lost_tells_both() -> None:
    story = Story(
        send=raising(TimedOut("It sent nothing for 1 s.", input_written=True)),
        answers={"update": raising(None, PermissionDenied("revoked meanwhile"))},
    )
    see_to(story)
    error = str(story.outcomes[-1].error)
    assert error.startswith("It sent nothing for 1 s. So the agent may have the input")
    assert error.endswith("revoked meanwhile")


def test_whoever_thinks_for_long_holds_no_slot_of_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fire_delivery, "PATIENCE_SECONDS", 0.01)
    free: list[int] = []
    seen: list[Slots] = []
    given_back = Slots.give_back

    def watched(slots: Slots, *taken: Any) -> None:
        given_back(slots, *taken)
        seen.append(slots)
        given.set()

    monkeypatch.setattr(Slots, "give_back", watched)

    given = asyncio.Event()

    async def think() -> None:
        await given.wait()
        free.append(seen[0].free("agent"))

    async def create() -> None:
        free.append(seen[0].free("agent"))

    story = Story(create=create, answers={"execute": think})
    see_to(story)
    # While it is asked, and when the agent is told.
    assert free == [64, 63]


def test_a_denial_is_kept_short() -> None:
    story = Story(answers={"execute": raising(PermissionDenied("x" * 5_000))})
    see_to(story)
    assert story.outcomes[-1].error == "x" * 1_000
