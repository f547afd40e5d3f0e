"""Where a page ends, as text that means nothing to anybody else.

A cursor names the last row that was shown, not a count of rows: what is inserted meanwhile moves
nothing.
"""

import base64
import binascii
import json
from datetime import datetime

from schedules_pipeline.errors import InvalidInput

INT64_MAX = 9_223_372_036_854_775_807


def write_cursor(*place: str) -> str:
    """The place behind a row, by the texts that it is sorted by."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def read_cursor(cursor: str, parts: int) -> list[str]:
    """The inverse of `write_cursor`. Errors: InvalidInput."""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (binascii.Error, ValueError, RecursionError):
        raise unreadable() from None
    if not isinstance(place, list) or len(place) != parts:
        raise unreadable()
    if not all(isinstance(part, str) and _storable(part) for part in place):
        raise unreadable()
    return place


def instant(part: str) -> datetime:
    """A part of a cursor that is an instant. Errors: InvalidInput."""
    try:
        moment = datetime.fromisoformat(part)
    except ValueError:
        raise unreadable() from None
    if moment.utcoffset() is None or not 1999 <= moment.year <= 2102:
        raise unreadable()
    return moment


def number(part: str) -> int:
    """A part of a cursor that is a row's number. Errors: InvalidInput."""
    if not (part.isascii() and part.isdigit() and len(part) <= 19 and int(part) <= INT64_MAX):
        raise unreadable()
    return int(part)


def unreadable() -> InvalidInput:
    """What is answered to a cursor that we did not write, or wrote for another list."""
    return InvalidInput("cursor", "is not a next_cursor of this list; leave it out to start anew")


def _storable(part: str) -> bool:
    return "\0" not in part and not any("\ud800" <= character <= "\udfff" for character in part)
