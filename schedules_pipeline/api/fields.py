"""The types of fields that come from outside: bounded, storable, and with one reading."""

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from schedules_pipeline.domain.zones import FIRST_YEAR, LAST_YEAR

INT32_MAX = 2_147_483_647
MAX_JSON_BYTES = 65_536
MAX_JSON_DEPTH = 32


def _storable(text: str) -> str:
    """PostgreSQL keeps neither NUL characters nor halves of surrogate pairs."""
    if "\0" in text:
        raise ValueError("holds a NUL character, which cannot be stored; leave it out")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half of a surrogate pair; write the whole character")
    return text


def _whole(value: object) -> object:
    """JSON numbers only: `true` is not 1, and "60" is not 60."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise ValueError("must be a whole number")
    # pydantic reads 1e308 as a text that is too long for it.
    return int(value)


def _date_text(value: object) -> object:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        raise ValueError("must be an ISO 8601 date and time, such as '2026-06-24T09:00:00Z'")
    return value


def _in_utc(moment: datetime) -> datetime:
    """An instant without offset is taken as UTC, as the contract has it."""
    # Before the conversion, which overflows at the ends of the calendar.
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _with_offset(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("must carry an offset, such as 'Z' or '+02:00'")
    return moment


def storable_value(value: Any) -> Any:
    """Any JSON within our limits. Errors: ValueError that says what is wrong."""
    for leaf, depth in _walk(value):
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"is nested more than {MAX_JSON_DEPTH} deep; flatten it")
        if isinstance(leaf, str):
            _storable(leaf)
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise ValueError("holds a number that is not finite; write it as a string or null")
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_JSON_BYTES:
        raise ValueError(f"is larger than {MAX_JSON_BYTES:,} bytes; keep it elsewhere, send a link")
    return value


def _walk(value: object) -> Iterator[tuple[object, int]]:
    """Every value and key with its depth. Without recursion: depth is the caller's choice."""
    pending = [(value, 1)]
    while pending:
        at, depth = pending.pop()
        yield at, depth
        if depth > MAX_JSON_DEPTH:
            return
        if isinstance(at, dict):
            pending.extend((key, depth) for key in at)
            pending.extend((item, depth + 1) for item in at.values())
        elif isinstance(at, list):
            pending.extend((item, depth + 1) for item in at)


STORABLE = AfterValidator(_storable)
WHOLE = BeforeValidator(_whole)
"""Stands after the bounds: pydantic's JSON schema does not know those that follow it."""
Natural = Annotated[int, Field(ge=0, le=INT32_MAX), WHOLE]
Positive = Annotated[int, Field(ge=1, le=INT32_MAX), WHOLE]
AwareInstant = Annotated[
    datetime, BeforeValidator(_date_text), AfterValidator(_with_offset), AfterValidator(_in_utc)
]
Instant = Annotated[datetime, BeforeValidator(_date_text), AfterValidator(_in_utc)]
Json = Annotated[dict[str, Any], AfterValidator(storable_value)]

Handle = Annotated[
    str, AfterValidator(lambda text: text.replace("\0", "\N{REPLACEMENT CHARACTER}"))
]
"""A part of the path. What cannot be stored names nothing, and so is answered with 404."""
