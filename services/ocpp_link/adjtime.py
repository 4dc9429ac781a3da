"""Whether the kernel's clock is synchronised: adjtimex and its STA_UNSYNC flag (hardware.md §8.4).

Owns: the system call. Does not: decide which clock is believed (`clock.py`), or set one.
"""

import ctypes

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_TIMEX_BYTES = 512
"""More than any architecture's struct timex; only `status` is read."""


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * _TIMEX_BYTES),
    )


_LIBC = ctypes.CDLL(None, use_errno=True)


def system_clock_synchronised() -> bool:
    """True when NTP, PTP or the like disciplines the system clock; a kernel that can't tell counts as not synchronised."""
    timex = _Timex()
    state = _LIBC.adjtimex(ctypes.byref(timex))
    return 0 <= state < _TIME_ERROR and not timex.status & _STA_UNSYNC
