"""`If-Match`: the version that a change is meant for, as the caller says it."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request

from schedules_pipeline.errors import Rejected
from schedules_pipeline.services.preconditions import ANY, Expected

TAG = r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
TAGS = re.compile(rf"{TAG}(?:[ \t]*,[ \t]*{TAG})*")
DOCUMENTED = r'^(\*|(W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)$'
"""What to send, in short; more is understood."""
VERSION = re.compile(r"[1-9][0-9]{0,9}")

Described = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="Only if the schedule is at a version that one of these ETags names; else 412. "
        "`*`: at any. A weak tag (`W/`) means the same as a strong one.",
        examples=['"1"'],
        json_schema_extra={"pattern": DOCUMENTED},
    ),
]


async def _expected(request: Request, _described: Described = None) -> Expected:
    """What the header says; several such headers are one list."""
    said = request.headers.getlist("if-match")
    return read_if_match(", ".join(said)) if said else ANY


def read_if_match(text: str) -> Expected:
    """The versions that a header names; a tag that is none of ours matches nothing.

    Proxies that compress an answer make its tag weak; the version that it names is the same.
    Errors: Rejected when it is no list of entity tags.
    """
    stripped = text.strip(" \t,")
    if stripped == "*":
        return ANY
    if not TAGS.fullmatch(stripped):
        raise Rejected(
            'If-Match: must be the ETag of an answer, in its quotes, such as "3"; several are '
            "divided by commas; or *"
        )
    named = (tag.group(1) for tag in re.finditer(TAG, stripped))
    return Expected(frozenset(int(tag) for tag in named if VERSION.fullmatch(tag)))


IfMatch = Annotated[Expected, Depends(_expected)]
