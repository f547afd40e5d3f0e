"""An agent's stream of updates becomes messages, whatever it sends."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from schedules_pipeline.domain.clean import DEEPEST, clean
from schedules_pipeline.domain.turn import EMPTY, MOST_MESSAGES, Turn
from schedules_pipeline.errors import BadReply

BEGAN = datetime(2026, 6, 24, 9, tzinfo=UTC)


def a_turn() -> Turn:
    numbers, seconds = count(1), count()
    return Turn(
        "t",
        new_id=lambda: f"m{next(numbers)}",
        now=lambda: BEGAN + timedelta(seconds=next(seconds)),
    )


def whole(updates: Iterable[Any]) -> list[Any]:
    turn = a_turn()
    for update in updates:
        turn.take(update)
    return [said.whole() for said in turn.messages()]


def a_text(text: str) -> dict[str, Any]:
    return {"type": "text", "author": "agent", "content": text}


def a_full(text: str, index: object = 0) -> dict[str, Any]:
    return {"type": "full", "index": index, "content": a_text(text)}


def a_piece(kind: str, index: object = 0, **piece: Any) -> dict[str, Any]:
    return {"type": "delta", "index": index, "delta": {"type": kind, **piece}}


def pieces(*texts: str, index: object = 0) -> list[dict[str, Any]]:
    return [a_piece("text", index, text_delta=text) for text in texts]


def test_whole_messages_of_one_index_are_several() -> None:
    assert whole([a_full("a"), a_full("b"), a_full("c", 1)]) == [a_text(t) for t in "abc"]


def test_pieces_of_two_messages_may_come_mixed() -> None:
    updates = [*pieces("a"), *pieces("x", index=1), *pieces("b"), *pieces("y", index=1)]
    assert whole(updates) == [a_text("ab"), a_text("xy")]


def test_a_message_that_came_in_pieces_may_come_whole_in_the_end() -> None:
    done = {"type": "done", "index": 0}
    assert whole([*pieces("a", "b"), a_full("whole")]) == [a_text("whole")]
    assert whole([*pieces("a", "b"), done, a_full("whole")]) == [a_text("whole")]


def test_pieces_add_to_what_the_start_said_and_keep_its_form() -> None:
    start = {"type": "start", "index": 0, "content": a_text("so: ") | {"format": "markdown"}}
    assert whole([start, *pieces("a", "b")]) == [a_text("so: ab") | {"format": "markdown"}]


def test_another_start_is_another_message() -> None:
    start = {"type": "start", "index": 0, "content": a_text("")}
    assert whole([start, *pieces("a"), start, *pieces("b")]) == [a_text("a"), a_text("b")]


@pytest.mark.parametrize(
    ("kind", "sent", "content"),
    [
        (
            "data",
            [{"data_delta": '{"a":'}, {"data_delta": " 1}"}],
            {"type": "data", "data": {"a": 1}},
        ),
        ("data", [{"data_delta": "[1"}], {"type": "data", "data": {"text": "[1"}}),
        (
            "data",
            [{"data_delta": '{"a": "\\u0000\\ud800x"}'}],
            {"type": "data", "data": {"a": "x"}},
        ),
        (
            "tool_request",
            [{"arguments_delta": "{}", "tool_call_id": "1", "name": "n"}],
            {"type": "tool_request", "tool_call_id": "1", "name": "n", "arguments": {}},
        ),
        (
            "tool_response",
            [{"content_delta": "o", "tool_call_id": "1", "name": "n"}, {"content_delta": "k"}],
            {"type": "tool_response", "tool_call_id": "1", "name": "n", "content": "ok"},
        ),
        (
            "reasoning_summary",
            [{"summary_delta": "s"}],
            {"type": "reasoning", "summary": ["s"]},
        ),
        (
            "reasoning_content",
            [{"content_delta": "c"}],
            {"type": "reasoning", "summary": [], "content": ["c"]},
        ),
    ],
)
def test_every_kind_of_piece_becomes_its_content(kind: str, sent: Any, content: Any) -> None:
    assert whole(a_piece(kind, **piece) for piece in sent) == [{"author": "agent"} | content]


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"type": "smell"},
        {"type": "start"},
        {"type": "full", "index": 0, "content": "text"},
        {"type": "full", "index": 0, "content": {"type": "smell"}},
        {"type": "delta", "index": 0},
        {"type": "delta", "index": 0, "delta": {"type": "text"}},
        {"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": 5}},
        {"type": "delta", "index": 0, "delta": {"type": ["text"], "text_delta": "x"}},
        {"type": "delta", "index": 0, "delta": "x"},
        {"type": "done", "index": 0},
        {"type": {"a": 1}, "index": []},
    ],
)
def test_what_says_nothing_is_passed_over(update: Any) -> None:
    turn = a_turn()
    assert turn.take(update) == []
    assert turn.messages() == []


def test_an_index_that_is_none_is_one() -> None:
    assert whole([*pieces("a", index=[1]), *pieces("b", index=None)]) == [a_text("ab")]


def test_who_says_it_is_the_agent_unless_it_says_that_the_user_did() -> None:
    for author, kept in (("user", "user"), ("agent", "agent"), ("root", "agent"), (5, "agent")):
        (said,) = whole([{"type": "full", "content": {"author": author, "content": "x"}}])
        assert said == {"type": "text", "author": kept, "content": "x"}


def test_each_update_shows_its_message() -> None:
    turn = a_turn()
    start, first, second = (shown for piece in pieces("a", "b") for shown in turn.take(piece))
    (done,) = turn.take({"type": "done", "index": 0})
    assert (start["type"], start["content"]) == ("start", EMPTY)
    shown = {
        "id": "m1",
        "task_id": "t",
        "content": EMPTY,
        "streaming_status": "IN_PROGRESS",
        "created_at": "2026-06-24T09:00:00Z",
        "updated_at": "2026-06-24T09:00:00Z",
    }
    assert start["parent_task_message"] == first["parent_task_message"] == shown
    assert first["parent_task_message"] == second["parent_task_message"] == shown
    assert done["parent_task_message"] == shown | {
        "content": a_text("ab"),
        "streaming_status": "DONE",
    }


def test_a_long_beginning_is_not_repeated_with_each_piece() -> None:
    turn = a_turn()
    turn.take({"type": "start", "index": 0, "content": a_text("x" * 10_000)})
    (piece,) = pieces("y")
    (shown,) = turn.take(piece)
    assert shown["parent_task_message"]["content"] == EMPTY


def test_a_turn_has_no_more_than_a_hundred_messages() -> None:
    turn = a_turn()
    for _ in range(MOST_MESSAGES):
        turn.take(a_full("x"))
    with pytest.raises(BadReply, match="The agent's answer is more than 100 messages"):
        turn.take(a_full("x"))
    assert len(turn.messages()) == MOST_MESSAGES


@pytest.mark.parametrize("update", [a_full("x" * 500_000), *pieces("x" * 500_000)])
def test_a_turn_says_no_more_than_a_mebibyte(update: Any) -> None:
    turn = a_turn()
    turn.take(update)
    turn.take(update)
    with pytest.raises(BadReply, match=r"is larger than 1,048,576 characters"):
        turn.take(update)


def test_what_cannot_be_stored_or_read_is_cleaned_away() -> None:
    dirty = {"a\0": [float("nan"), float("inf"), "x\ud800", 1.5, True, None, {"\udfff": -0.0}]}
    assert clean(dirty) == {"a": [None, None, "x", 1.5, True, None, {"": -0.0}]}


def test_what_is_nested_too_deep_is_refused() -> None:
    value: Any = 1
    for _ in range(DEEPEST - 1):
        value = [value]
    assert clean(value) == value
    with pytest.raises(BadReply, match="nested more than 32 deep"):
        clean([value])
