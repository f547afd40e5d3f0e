"""What `schedules dev` says on the terminal."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO

NAME_WIDTH = 13
HEADINGS = ("nominal time", "schedule", "agent", "outcome", "late")
WIDTHS = (20, 30, 16, 28, 9)


class Fire(Protocol):
    """What is printed of a fire that landed."""

    @property
    def nominal_at(self) -> datetime:
        """The occurrence's instant."""

    @property
    def schedule_name(self) -> str:
        """Given by whoever made the schedule."""

    @property
    def agent_name(self) -> str:
        """Given by whoever registered the agent."""

    @property
    def state(self) -> str:
        """How it ended."""

    @property
    def reason(self) -> str | None:
        """Why, unless it was delivered."""

    @property
    def lateness_seconds(self) -> float | None:
        """Sent after due, if it was sent."""


class Voice:
    """Lines on a terminal that may go away at any time (a closed window, `| head`)."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        reconfigure = getattr(self._out, "reconfigure", None)
        if reconfigure:
            # A name that the terminal's character set lacks must not stop the house.
            reconfigure(errors="backslashreplace")

    def say(self, line: str = "") -> None:
        """Print one line."""
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError:
            self._go_on_unheard()

    def _go_on_unheard(self) -> None:
        # What is still in the buffer would fail once more when Python exits.
        with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._out.fileno())

    def part(self, name: str, what: str) -> None:
        """Print one line about one part."""
        self.say(f"  {name:<{NAME_WIDTH}} {what}")

    def headings(self) -> None:
        """Print what the columns of the fires are."""
        self.say(_columns(HEADINGS))

    def fire(self, fire: Fire) -> None:
        """Print one fire that landed."""
        outcome = f"{fire.state} ({fire.reason})" if fire.reason else fire.state
        late = fire.lateness_seconds
        self.say(
            _columns(
                (
                    fire.nominal_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    fire.schedule_name,
                    fire.agent_name,
                    outcome,
                    "" if late is None else f"{late:.3f} s",
                )
            )
        )


def printable(text: str) -> str:
    """Text from elsewhere, unable to move the cursor, colour the screen or turn a line around."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _columns(cells: Sequence[str]) -> str:
    shown = []
    for cell, width in zip(cells, WIDTHS, strict=True):
        text = printable(cell)
        shown.append((text if len(text) <= width else f"{text[: width - 1]}…").ljust(width))
    return "  ".join(shown).rstrip()
