"""How often Python looks for garbage in a process that serves."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECTED_AFTER = (10_000, 10, 50)
"""After so many new objects (of its own accord 700), so many of those looks, and so on."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Leave what is there by now to itself, and look for garbage more rarely.

    Serving makes thousands of objects that live for a second. Left as it is, the collector takes up
    to a sixth of a burst's processor time, and stops the event loop for up to a quarter of a second
    to go through the modules of Dagster (docs/decisions/0011-the-burst.md).
    """
    before = gc.get_threshold()
    # A forked run's is frozen already, and stays so: looked at, it would be copied.
    freezes = not gc.get_freeze_count()
    if freezes:
        gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if freezes:
            gc.unfreeze()
