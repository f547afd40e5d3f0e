"""JSON of agents, as PostgreSQL keeps it and anybody can read it. Pure."""

import math

from schedules_pipeline.errors import BadReply

DEEPEST = 32


def storable(text: str) -> str:
    """The same text without what Postgres' text and jsonb refuse: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")


def clean(value: object, depth: int = 1) -> object:
    """The same JSON as PostgreSQL keeps it, and anybody can read it; numbers are finite.

    Errors: BadReply when it is nested too deep.
    """
    if depth > DEEPEST:
        raise BadReply(f"The agent's answer is nested more than {DEEPEST} deep.")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {storable(key): clean(item, depth + 1) for key, item in value.items()}
    return value
