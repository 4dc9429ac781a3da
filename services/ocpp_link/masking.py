"""Frames as the log may show them: no passwords, and of an idTag only its beginning (pure; style guide §7).

Owns: what is hidden. Does not: log.
"""

import re

from bus.vocabulary import masked_id_tag

_ID_TAG = re.compile(r'("(?:parentIdTag|idTag)"\s*:\s*")((?:[^"\\]|\\.)*)', re.ASCII)
_VALUE = re.compile(r'("value"\s*:\s*")(?:[^"\\]|\\.)*', re.ASCII)


def masked(frame: str) -> str:
    """`frame` without what must not be read in a log."""
    if "idTag" in frame or "IdTag" in frame:
        frame = _ID_TAG.sub(lambda found: found[1] + masked_id_tag(found[2]), frame)
    if "authorizationkey" in frame.lower():
        frame = _VALUE.sub(r"\1…", frame)
    return frame
