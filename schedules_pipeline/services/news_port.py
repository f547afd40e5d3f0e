"""News: which slices got fires by somebody's write, heard as soon as that is committed."""

from collections.abc import Collection
from typing import Protocol

EVERYWHERE = ""
"""Told instead of a slice's key: look, whatever you look after."""


class Ear(Protocol):
    """Hears the news, on a connection of its own, from `open` on. One thread at a time.

    It only saves waiting: what is told while nobody listens, or while the database is away, is
    lost. Whoever hears looks by himself as well, and opens *before* he looks.
    """

    def open(self) -> bool:
        """Listen, if it does not yet. False: it cannot now; ask again later."""

    def fileno(self) -> int:
        """Readable when there is something to `read`. Only of an ear that is open."""

    def read(self) -> Collection[str]:
        """The keys told since the last time. Where the connection is lost: EVERYWHERE, and the ear
        is closed: nobody knows what was missed."""

    def wait(self, seconds: float) -> Collection[str]:
        """The same, waiting for the first of them for so long at most."""

    def close(self) -> None: ...
