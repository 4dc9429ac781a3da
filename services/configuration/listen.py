"""Where the metrics are served: `127.0.0.1:9464`, `[::1]:9464` or `unix:/path` (pure).

Owns: the form, and that nobody outside of the board is let in. Does not: open anything.
"""

import re

import msgspec

PATH_BYTES_MAX = 107
"""What the kernel takes for the name of a unix socket."""


class Refused(Exception):
    """It can't be listened there; plain words with the remedy."""


class Tcp(msgspec.Struct, frozen=True):
    """A port of the loopback interface."""

    host: str
    port: int


class Unix(msgspec.Struct, frozen=True):
    """A unix socket; the path is absolute."""

    path: str


def parsed(text: str) -> Tcp | Unix:
    """Raises Refused."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or path.endswith("/"):
            raise Refused("the path of a unix socket is absolute; write it as unix:/run/chargebus/metrics.sock")
        if len(path.encode()) > PATH_BYTES_MAX:
            raise Refused(f"the path is longer than {PATH_BYTES_MAX} bytes; give a shorter one")
        return Unix(path)
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})", text)
    if found is None:
        raise Refused('write it as "127.0.0.1:9464", "[::1]:9464" or "unix:/run/chargebus/metrics.sock"')
    host, port = found[1] or found[2], int(found[3])
    if host != "::1" and not _is_loopback(host):
        raise Refused(f"{host} is not an address of this board alone; take 127.0.0.1, [::1] or a unix socket")
    if not 1 <= port <= 65535:
        raise Refused(f"there is no port {port}; give one from 1 to 65535")
    return Tcp(host, port)


def _is_loopback(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(re.fullmatch(r"0|[1-9]\d{0,2}", p) and int(p) < 256 for p in parts)
