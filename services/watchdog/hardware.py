"""The board's hardware watchdog, `/dev/watchdog` (Linux' watchdog API).

Owns: the device. Does not: decide when it is fed (`core.py`).
"""

import array
import contextlib
import fcntl
import os
from collections.abc import Callable

from bus.logs import Logger

GETBOOTSTATUS = 0x80045702
"""WDIOC_GETBOOTSTATUS: why the board was reset the last time."""
CARDRESET = 0x0020
"""WDIOF_CARDRESET: by this watchdog."""


def boot_status(descriptor: int) -> int | None:
    """What the driver says of the last reset; None: it can't say."""
    answer = array.array("i", [0])
    try:
        fcntl.ioctl(descriptor, GETBOOTSTATUS, answer, True)
    except OSError:
        return None
    return answer[0]


class HardwareWatchdog:
    """Once opened it resets the board unless it is fed; closed in good order it stops. `path` empty: there is none."""

    def __init__(self, path: str, log: Logger, ask: Callable[[int], int | None] = boot_status) -> None:
        self._descriptor: int | None = None
        self.has_reset = False
        """It has reset the board the last time: this boot began with that."""
        if not path:
            return
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            log.error("hardware watchdog can't be used, check [system] hardware_watchdog", path=path, reason=error.strerror)
            return
        status = ask(self._descriptor)
        self.has_reset = status is not None and bool(status & CARDRESET)
        if self.has_reset:
            log.warning("the last reset of the board was by its hardware watchdog: nobody had fed it", path=path)

    def feed(self) -> None:
        """All is well."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, b"\0")

    def close(self) -> None:
        """The board is not to be reset because this process ends in good order."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, b"V")
            os.close(self._descriptor)
            self._descriptor = None
