"""Loaded by schemathesis: checks of ours, and what a well-behaved client does with its keys.

It writes a line for each answer to `answers.jsonl` in the working directory.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response

from schedules_pipeline.api.schemas import OneOccurrence

LEAKS = re.compile(
    r"Traceback|\bFile \"|\.py\b|psycopg|sqlalchemy|site-packages|schedules_pipeline/"
    r"|\bselect .+ from\b|\binsert into\b|\bupdate \w+ set\b|/usr/|/root/|/home/|pg_catalog",
    re.IGNORECASE,
)
# What no JSON schema can say of a request. Whoever keeps to the document is refused for nothing
# but these.
UNSAYABLE = re.compile(
    "|".join(
        [
            r"(cron_expression|exclude_cron): ('|is empty)",  # a grammar of its own
            r"cannot stand beside",
            r"is missing; give cron_expression",
            r"cannot be set together with",
            r"belongs to interval_seconds",
            r"never fires again",
            r"is past",
            r"is before start_at",
            r"is before from",
            r"is not an IANA time zone",
            r"must lie in the years 2000 to 2100",
            r"lies ahead; a backfill is of the past",
            r"is not a next_cursor of this list",
            r"says nothing; name what is wanted",
            r"contradicts `paused`",
            r"holds a NUL character",
            r"holds half of a surrogate pair",
            r"is larger than 65,536 bytes",
            r"is nested more than",
            r"give (either task_id or task_name|task_id or task_name, not both)",
            r"is not JSON; quote names",
            r"must be a JSON object",
            r"holds a number that is not finite",
            r"cannot be kept with an answer that is streamed",
        ]
    )
)
ANSWERS = Path("answers.jsonl")
KEY = "Idempotency-Key"
_DOCUMENTED: Any = OneOccurrence.model_config
EXAMPLE: str = _DOCUMENTED["json_schema_extra"]["examples"][0]["scheduled_time"]


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """A usable Idempotency-Key becomes this request's own, as a client's is; others stay.

    Boundary values come with an empty `If-Match`, whatever the document says of it: left out, the
    request gets as far as the boundary that it is about.
    """
    if case.headers.get("If-Match") == "":
        del case.headers["If-Match"]
    asked = [case.method, case.formatted_path, str(case.query), repr(case.body)]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    if digest < "c" and _is_positive(case):
        _make_likely(case)
    key = case.headers.get(KEY)
    if isinstance(key, str) and re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        case.headers[KEY] = digest


def _make_likely(case: Case) -> None:
    """Where only one value in millions makes sense, most requests get it."""
    case.query.pop("cursor", None)
    if not isinstance(case.body, dict):
        return
    if "scheduled_time" in case.body:
        case.body = case.body | {"scheduled_time": EXAMPLE}
    if case.path.startswith("/messages"):
        case.body = case.body | _of_a_task(case, case.body)


def _of_a_task(case: Case, body: dict[str, Any]) -> dict[str, Any]:
    """What is said belongs to a task that there is, and a message to the task that has it."""
    known = re.fullmatch(r"message-(\d+)", str(case.path_parameters.get("message_id")))
    number = known.group(1) if known else "1"
    fitting: dict[str, Any] = {"task_id": f"task-{number}"}
    updates = body.get("updates")
    if updates and isinstance(updates, dict):
        fitting["updates"] = {f"message-{number}": next(iter(updates.values()))}
    return fitting


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """No agent is made up that lives elsewhere than here: the server would call on it."""
    if isinstance(body, dict) and str(body.get("acp_url")).startswith("http"):
        return body | {"acp_url": "http://127.0.0.1:9/fuzzed"}
    return body


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Keep the books: which operation was answered how."""
    said = response.text[:300] if response.status_code >= 400 else ""
    line = {"operation": case.operation.label, "status": response.status_code, "said": said}
    with ANSWERS.open("a") as books:
        books.write(json.dumps(line) + "\n")


@schemathesis.check
def nothing_of_ours_leaks(ctx: CheckContext, response: Response, case: Case) -> None:
    """No SQL, no path, no stack trace, unless the caller said it first."""
    found = LEAKS.search(response.text)
    if found and found.group() not in _said(response):
        raise AssertionError(f"The answer leaks {found.group()!r}: {response.text[:500]}")


@schemathesis.check
def who_keeps_to_the_document_is_refused_for_what_it_cannot_say(
    ctx: CheckContext, response: Response, case: Case
) -> None:
    """A 422 for a request that fits the schema is one of a known few."""
    if _is_positive(case) and response.status_code == 422 and not UNSAYABLE.search(response.text):
        raise AssertionError(f"Fits the document, and is refused: {response.text[:500]}")


def _is_positive(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _said(response: Response) -> str:
    body = response.request.body or ""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return f"{response.request.url} {text}"
