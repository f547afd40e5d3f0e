"""One claimed fire, step by step: what is written before what, and when nothing more is sent."""

import asyncio

import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.errors import AgentError, DispatchEnded, TimedOut, Unavailable
from schedules_pipeline.services.claiming import ClaimedFire
from schedules_pipeline.services.fire_delivery import DeliveryRules, FireDelivery
from schedules_pipeline.services.platform_port import Assignment
from schedules_pipeline.services.slots import Slots
from schedules_pipeline.services.stored import Outcome
from tests.delivery.factories import make_assignment
from tests.services.story import CREATOR, NOON, StandingClock, Story, nothing, raising, see_to


def test_the_task_is_committed_before_the_input_goes_out_and_the_delivery_after() -> None:
    story = Story()
    see_to(story)
    assert story.events == ["create", "task_created", "send", "delivered"]
    created, delivered = story.outcomes
    # Only a finished attempt counts.
    assert (created.attempts, delivered.attempts) == (0, 1)
    assert (delivered.sent_at, delivered.reply_excerpt) == (NOON, "hello")


def test_a_fire_that_was_taken_over_after_its_task_is_marked_before_it_is_sent_again() -> None:
    story = Story()
    see_to(story, task_created=True, attempts=2)
    assert story.events == ["look", "task_created", "send", "delivered"]
    marked, delivered = story.outcomes
    assert (marked.attempts, delivered.attempts) == (2, 3)
    assert marked.possible_duplicate
    assert delivered.possible_duplicate


def test_what_the_agent_shows_that_it_has_is_delivered_and_not_sent_again() -> None:
    story = Story(shown=True)
    see_to(story, task_created=True)
    assert story.events == ["look", "delivered"]
    end = story.outcomes[0]
    # When it was sent, the run that sent it knew.
    assert (end.sent_at, end.possible_duplicate) == (None, False)


def test_an_answer_that_was_lost_is_made_up_by_what_the_agent_shows() -> None:
    story = Story(send=raising(TimedOut("nothing", input_written=True)), shown=True)
    see_to(story)
    assert story.events == ["create", "task_created", "send", "task_created", "look", "delivered"]
    end = story.outcomes[-1]
    assert (end.sent_at, end.possible_duplicate) == (NOON, False)


def test_the_last_attempts_lost_answer_is_made_up_too() -> None:
    story = Story(send=raising(TimedOut("nothing", input_written=True)), shown=True)
    see_to(story, attempts=4)
    assert story.events == ["create", "task_created", "send", "look", "delivered"]


def test_at_most_once_an_input_that_may_be_out_ends_unknown_and_says_what_to_do() -> None:
    story = Story(send=raising(TimedOut("It sent nothing for 1 s.", input_written=True)))
    see_to(story, may_send_again=False)
    assert story.events == ["create", "task_created", "send", "task_created", "look", "failed"]
    end = story.outcomes[-1]
    assert (end.reason, end.possible_duplicate) == (FireReason.DELIVERY_UNKNOWN, False)
    assert end.error == (
        "It sent nothing for 1 s. So the agent may have the input, and nothing shows whether it "
        "has. It is not sent again (delivery_guarantee at_most_once, or too late by now); a "
        "redrive does that."
    )


def test_at_most_once_the_last_attempts_lost_answer_ends_unknown_too() -> None:
    story = Story(send=raising(TimedOut("It sent nothing for 1 s.", input_written=True)))
    see_to(story, attempts=4, may_send_again=False)
    assert story.events == ["create", "task_created", "send", "look", "failed"]
    end = story.outcomes[-1]
    assert (end.reason, end.attempts) == (FireReason.DELIVERY_UNKNOWN, 5)


def test_at_most_once_a_take_over_ends_unknown() -> None:
    story = Story()
    see_to(story, task_created=True, may_send_again=False)
    assert story.events == ["look", "failed"]
    assert str(story.outcomes[-1].error).startswith("The run that held it ended between its send")


def test_a_proof_waits_for_a_database_that_is_away() -> None:
    answers: list[Exception | None] = [Unavailable("away"), Unavailable("away"), None]

    class Away(Story):
        async def shows_input(self, assignment: Assignment) -> bool:
            self.events.append("look")
            if (error := answers.pop(0)) is not None:
                raise error
            return True

    story = Away()
    see_to(story, task_created=True)
    assert story.events == ["look", "look", "look", "delivered"]
    # Nothing was sent by this run: no attempt.
    assert story.outcomes[-1].attempts == 0


def test_at_most_once_what_certainly_did_not_arrive_is_sent_again() -> None:
    story = Story(send=raising(AgentError("busy"), None))
    see_to(story, may_send_again=False)
    assert story.events[-2:] == ["send", "delivered"]


def test_what_is_no_longer_ours_to_mark_is_not_sent_again() -> None:
    story = Story(kept=lambda _outcome: False)
    see_to(story, task_created=True)
    assert story.events == ["look", "task_created"]


def test_no_input_goes_out_when_the_task_is_no_longer_ours() -> None:
    story = Story(kept=lambda outcome: outcome.state is not FireState.TASK_CREATED)
    see_to(story)
    assert story.events == ["create", "task_created"]


def test_no_second_attempt_is_made_when_the_first_ones_failure_is_not_ours_to_write() -> None:
    story = Story(create=raising(AgentError("no")), kept=lambda _outcome: False)
    see_to(story)
    assert story.events == ["create", "claimed"]


@pytest.mark.parametrize("task_created", [True, False])
def test_nothing_is_sent_without_proof(task_created: bool) -> None:
    story = Story(prove=raising(DispatchEnded("over")))
    with pytest.raises(DispatchEnded):
        see_to(story, task_created=task_created)
    assert not {"create", "send"} & set(story.events)


def test_every_attempt_and_each_of_its_steps_is_proved() -> None:
    story = Story(send=raising(AgentError("no")), prove=raising(None, None, DispatchEnded("over")))
    with pytest.raises(DispatchEnded):
        see_to(story)
    assert story.events == ["create", "task_created", "send", "task_created"]


def test_five_attempts_and_the_last_ones_reason_is_the_end() -> None:
    story = Story(create=raising(*[AgentError("no")] * 4, TimedOut("nothing")))
    see_to(story)
    assert story.events == [*["create", "claimed"] * 4, "create", "failed"]
    assert [outcome.attempts for outcome in story.outcomes] == [1, 2, 3, 4, 5]
    end = story.outcomes[-1]
    assert (end.reason, end.error, end.possible_duplicate) == (
        FireReason.TIMEOUT,
        "nothing",
        False,
    )


def test_a_task_that_was_made_is_not_made_again_for_the_next_attempt() -> None:
    story = Story(send=raising(AgentError("busy"), None))
    see_to(story)
    assert story.events == [
        *("create", "task_created", "send"),
        *("task_created", "send", "delivered"),
    ]


@pytest.mark.parametrize("written", [True, False])
def test_only_an_input_that_may_have_been_read_makes_the_next_a_possible_duplicate(
    written: bool,
) -> None:
    story = Story(send=raising(TimedOut("nothing", input_written=written), None))
    see_to(story)
    assert story.outcomes[-1].state is FireState.DELIVERED
    assert story.outcomes[-1].possible_duplicate is written


def test_an_error_of_any_length_is_kept_short() -> None:
    story = Story(create=raising(AgentError("x" * 5_000)))
    see_to(story, attempts=4)
    assert story.outcomes[-1].error == "x" * 1_000


def test_a_wait_between_attempts_holds_no_slot() -> None:
    free: list[int] = []

    async def run() -> None:
        slots = Slots(on_free=lambda: None)
        story = Story(create=raising(AgentError("no"), None))

        async def commit(outcome: Outcome) -> bool:
            free.append(slots.free("agent"))
            return True

        claimed = ClaimedFire(
            fire_id="fire",
            schedule_id="schedule",
            agent_id="agent",
            due_at=NOON,
            attempts=0,
            task_created=False,
            may_send_again=True,
            pause_after_failures=None,
            lets_next_go=False,
            creator=CREATOR,
            assignment=make_assignment("http://127.0.0.1:9"),
        )
        await FireDelivery(
            claimed,
            slots.take("agent"),
            platform=story,
            access=story,
            slots=slots,
            clock=StandingClock(),
            rules=DeliveryRules(retry_wait_seconds=0.001),
            commit=commit,
            prove=nothing,
        ).see_to_its_end()

    asyncio.run(run())
    # After the failure; for the task, whose attempt goes on; after the delivery.
    assert free == [64, 63, 64]
