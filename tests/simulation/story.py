"""The story of a simulation: who did what when, in plain words, for a person who has to find out what went wrong.

Owns: collecting lines and printing those around a finding. Does not: judge.
"""

from typing import Any

import msgspec

from bus.logs import Logger, utc_text
from tests.simulation.clock import UTC_0_S, Clock


class Line(msgspec.Struct, frozen=True):
    """One thing that happened."""

    at_s: float
    who: str
    text: str


class Story:
    """Collects lines; `who` is `people`, `hardware`, `central`, `fault`, or a service."""

    def __init__(self, clock: Clock) -> None:
        self.lines: list[Line] = []
        self._clock = clock

    def tell(self, who: str, text: str) -> None:
        """Something happened now."""
        self.lines.append(Line(self._clock.true_s, who, text))

    def around(self, from_s: float, to_s: float, most: int = 120) -> list[str]:
        """The lines of a time, as text; of too many, the last ones."""
        found = [line for line in self.lines if from_s <= line.at_s <= to_s]
        left_out = [f"… {len(found) - most} lines before are left out"] if len(found) > most else []
        return left_out + [text_of(line) for line in found[-most:]]


def text_of(line: Line) -> str:
    """A line as a person reads it, with the true time of day."""
    return f"{utc_text(UTC_0_S + line.at_s)[11:-1]} {line.who:<17} {line.text}"


class StoryLog(Logger):
    """The log of a service goes into the story; what is only for developers does not."""

    def __init__(self, service: str, story: Story) -> None:
        super().__init__(service)
        self._service = service
        self._story = story

    def debug(self, event: str, **fields: Any) -> None:
        """Left out."""

    def info(self, event: str, **fields: Any) -> None:
        self._tell(event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._tell(f"! {event}", fields)

    def error(self, event: str, **fields: Any) -> None:
        self._tell(f"!! {event}", fields)

    def _tell(self, event: str, fields: dict[str, Any]) -> None:
        words = " ".join(f"{key}={value}" for key, value in fields.items() if value not in (None, ""))
        self._story.tell(self._service, f"{event} {words}".rstrip())
