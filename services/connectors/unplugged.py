"""Which plugs the guard has seen out while the connectors service was away: `unplugged.json` in the run directory.

The guard adds to it, the service reads it at its start and leaves it: the next one may need it too, as this one may die before
its controllers have spoken. What it says counts within one hardware boot, so that nothing has to reach the disk at once.

Owns: the file's name and format. Does not: decide what an unplugging means (`recovery.py`) or when one is seen (`orphans.py`).
"""

import os

import msgspec

from bus.logs import Logger

FILE = "unplugged.json"


class _Unplugged(msgspec.Struct, frozen=True):
    """`seen_s`: by connector, the boottime at which its plug was seen to be out, the last time that this was news."""

    boot_id: str
    seen_s: dict[int, float]


def read(path: str, boot_id: str, log: Logger) -> dict[int, float]:
    """Boottimes of this boot by connector. A file that can't be read says nothing, and so does one of another boot."""
    try:
        with open(path, "rb") as file:
            known = msgspec.json.decode(file.read(), type=_Unplugged)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        text = "what the guard noted of plugs that were out can't be read, plug-ins are told apart by their counters alone"
        log.warning(text, file=path, reason=error)
        return {}
    return known.seen_s if known.boot_id == boot_id else {}


def add(path: str, boot_id: str, seen_s: dict[int, float], log: Logger) -> None:
    """Note more boottimes of this boot; the file is whole at any instant. Raises OSError."""
    known = _Unplugged(boot_id, {**read(path, boot_id, log), **seen_s})
    with open(f"{path}.new", "wb") as file:
        file.write(msgspec.json.encode(known))
    os.replace(f"{path}.new", path)
