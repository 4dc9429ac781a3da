"""When a device counts as lost and when it is tried again (pure).

Owns: three failures in a row are a loss; back-off 0.25, 1, 2, 4 … 30 s. Does not: touch a port (`runner.py`).
"""

import msgspec

FAILURES_MAX = 3
RETRY_S = (0.25, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class Closed(msgspec.Struct, frozen=True):
    """No port; the next try is due. `tries` in a row have failed."""

    retry_at_s: float = 0.0
    tries: int = 0


class Up(msgspec.Struct, frozen=True):
    """The device answers; `failures` in a row."""

    failures: int = 0


Link = Closed | Up


def opened() -> Link:
    """The port is open and the device has said who it is."""
    return Up()


def exchanged() -> Link:
    """An exchange went well."""
    return Up()


def failed(link: Link, now_s: float, *, port_gone: bool) -> Link:
    """An opening or an exchange failed. A port that is gone needs no second opinion."""
    match link:
        case Closed(tries=tries):
            return Closed(now_s + RETRY_S[min(tries, len(RETRY_S) - 1)], tries + 1)
        case Up(failures=failures) if port_gone or failures + 1 >= FAILURES_MAX:
            return Closed(now_s + RETRY_S[0], 1)
        case Up(failures=failures):
            return Up(failures + 1)


def retry_in_s(link: Link, now_s: float) -> float:
    """Seconds until the next opening may be tried; 0 when it is open or due."""
    return max(0.0, link.retry_at_s - now_s) if isinstance(link, Closed) else 0.0
