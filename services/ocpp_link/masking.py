"""Frames as the log may show them: no passwords, and of an idTag only its beginning (pure; style guide §7).

Owns: what is hidden. Does not: log.
"""

import re

_ID_TAG = re.compile(r'("(?:parentIdTag|idTag)"\s*:\s*")((?:[^"\\]|\\.)*)', re.ASCII)
_VALUE = re.compile(r'("value"\s*:\s*")(?:[^"\\]|\\.)*', re.ASCII)
_SHOWN = 2
_SHOWN_LENGTH_MIN = 8
"""Shorter idTags are hidden whole."""


def masked(frame: str) -> str:
    """`frame` without what must not be read in a log."""
    if "idTag" in frame or "IdTag" in frame:
        frame = _ID_TAG.sub(lambda found: f"{found[1]}{_start(found[2])}…", frame)
    if "authorizationkey" in frame.lower():
        frame = _VALUE.sub(r"\1…", frame)
    return frame


def _start(id_tag: str) -> str:
    return id_tag[:_SHOWN] if len(id_tag) >= _SHOWN_LENGTH_MIN else ""
