"""The two clocks of the station and its two boot ids (design §5).

`CLOCK_BOOTTIME` orders and times everything; UTC is a view of it. Owns: reading them. Does not: decide which UTC is
believed; that is `ocpp_link`'s, published as `ClockState`.
"""

import os
import time

BOOT_ID_ENVIRONMENT = "CHARGEBUS_BOOT_ID"
"""Set by `station run --virtual`: each run of the virtual board is a hardware boot of its own (design §2)."""
RUN_ID_ENVIRONMENT = "CHARGEBUS_RUN_ID"
"""Set by each `station run`: the application boot, which decides about BootNotification (design §2)."""


def boottime_s() -> float:
    """Seconds since the kernel booted, suspended time included; never steps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boottime_ns() -> int:
    """As `boottime_s`, in nanoseconds; the incarnation of a process is its value at the start."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def system_utc_s() -> float:
    """The system clock, Unix seconds; may be wrong and may step."""
    return time.time()


def hardware_boot_id() -> str:
    """Id of this boot of the board: the kernel's, or the virtual board's under `--virtual`."""
    given = os.environ.get(BOOT_ID_ENVIRONMENT)
    if given:
        return given
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def application_boot_id() -> str:
    """Id of this `station run`; a service started by hand takes the hardware boot for it."""
    return os.environ.get(RUN_ID_ENVIRONMENT) or hardware_boot_id()
