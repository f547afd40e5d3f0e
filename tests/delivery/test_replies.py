"""What is kept of an agent's words."""

import json

import pytest

from schedules_pipeline.delivery.acp import Timeouts
from schedules_pipeline.delivery.replies import Excerpt, quotable, quote_body, result_of
from schedules_pipeline.domain.clean import storable
from schedules_pipeline.errors import AgentError, BadReply
from schedules_pipeline.settings import Settings


def text(content: str) -> dict[str, object]:
    return {"type": "text", "author": "agent", "content": content}


def full(content: str, index: object = 0) -> dict[str, object]:
    return {"type": "full", "index": index, "content": text(content)}


def delta(piece: object, index: object = 0) -> dict[str, object]:
    return {"type": "delta", "index": index, "delta": {"type": "text", "text_delta": piece}}


def excerpt_of(*updates: object) -> str | None:
    excerpt = Excerpt()
    for update in updates:
        excerpt.add(update)
    return excerpt.text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("all is well", "all is well"),
        ("two\r\nlines\tand  blanks ", "two lines and blanks"),
        ("\x1b[2Jclear\x00\x07", "[2Jclear"),
        ("abc\u202ecba\u2028new\u200bline", "abc cba new line"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("x" * 600, "x" * 499 + "…"),
        ("x" * 500, "x" * 500),
        ("a" + "\0" * 5_000 + "b", "a…"),
        ("ärger – 日本語 🙂", "ärger – 日本語 🙂"),
    ],
)
def test_an_agents_words_become_one_bounded_line(words: str, line: str) -> None:
    assert quotable(words) == line


def test_a_body_that_is_no_text_is_quoted_with_escapes() -> None:
    assert quote_body(b"\xff\xfe'ok'\n") == repr("\\xff\\xfe'ok'")
    assert len(quote_body(b"\xff" * 5_000)) < 420


def test_what_is_stored_has_neither_nul_nor_lone_surrogates() -> None:
    assert storable("a\0b\ud800c🙂\udfff") == "abc🙂"


def test_a_result_may_be_null_or_missing() -> None:
    assert result_of(b'{"jsonrpc":"2.0","id":"1","result":null,"error":null}', "1") is None
    assert result_of(b'{"id":"1"}', "1") is None
    assert result_of(b'{"id":"1","result":{"status":"processing"}}', "1") == {
        "status": "processing"
    }


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"code": -32601, "message": "Method x not found"}, "-32601 Method x not found"),
        ({"message": None}, "None None"),
        ("just words\n", "just words"),
        ([1], "[1]"),
        (False, "False"),
    ],
)
def test_a_json_rpc_error_is_the_agents_error_in_whatever_shape(
    error: object, message: str
) -> None:
    body = json.dumps({"id": "1", "result": None, "error": error}).encode()
    with pytest.raises(AgentError) as caught:
        result_of(body, "1")
    assert str(caught.value) == f"The agent answered with an error: {message}"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"\xff\xfe", b"1" * 5_000, b"NaN"])
def test_what_is_not_a_json_object_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply, match=r"^The agent's answer is not (JSON|a JSON object): '"):
        result_of(body, "1")


@pytest.mark.parametrize("reply_id", [None, 1, "2", ["1"], {"a": 1}])
def test_a_reply_to_another_request_is_a_bad_reply(reply_id: object) -> None:
    with pytest.raises(BadReply, match=r"^The agent's answer is to another request: id "):
        result_of(json.dumps({"id": reply_id, "result": None}).encode(), "1")


def test_whole_messages_stand_one_below_the_other() -> None:
    assert excerpt_of(full("one"), full("two"), full("three", 1)) == "one\ntwo\nthree"


def test_pieces_are_joined_by_their_index() -> None:
    started = {"type": "start", "index": 0, "content": text("")}
    done = {"type": "done", "index": 0}
    assert excerpt_of(started, delta("a"), delta("x", 1), delta("b"), done) == "ab\nx"


def test_a_whole_message_replaces_its_own_pieces() -> None:
    assert excerpt_of(delta("Hel"), delta("lo"), full("Hello!"), full("More")) == "Hello!\nMore"


def test_a_new_start_is_a_new_message() -> None:
    start = {"type": "start", "index": 0, "content": text("> ")}
    assert excerpt_of(start, delta("a"), start, delta("b")) == "> a\n> b"


@pytest.mark.parametrize(
    "update",
    [
        None,
        "text",
        {},
        {"type": "full"},
        {"type": "full", "content": {"type": "data", "data": {}}},
        {"type": "full", "content": {"type": "text", "content": 1}},
        {"type": "delta", "index": {}, "delta": {"type": "reasoning", "x": 1}},
        {"type": ["delta"], "index": 0},
        delta(7),
        delta("", [1]),
    ],
)
def test_what_is_not_text_is_passed_over(update: object) -> None:
    assert excerpt_of(update) is None
    assert excerpt_of(update, full("text")) == "text"


def test_only_the_first_2000_characters_are_kept_in_memory_too() -> None:
    excerpt = Excerpt()
    for index in range(10_000):
        excerpt.add(delta("x" * 100, index % 300))
        excerpt.add(full("y" * 100))
    assert len(excerpt.text() or "") == 2_000
    assert sum(map(len, excerpt._texts)) <= 100 * 2_000
    assert len(excerpt._streamed) <= 100


def test_the_timeouts_defaults_are_the_settings() -> None:
    settings, timeouts = Settings.model_construct(), Timeouts()
    assert timeouts.connect == settings.connect_timeout_seconds
    assert timeouts.request == settings.request_timeout_seconds
    assert timeouts.turn == settings.turn_timeout_seconds
