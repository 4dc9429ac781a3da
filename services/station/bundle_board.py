"""What a support bundle says of the board: versions, kernel, disk, clock, memory, what is plugged in.

Owns: looking, at files and the kernel only. Does not: ask a service, open a device or a socket.
"""

import contextlib
import glob
import importlib.metadata
import os
import platform
import sqlite3
import sys
from collections.abc import Iterator

from bus.clock import boottime_s, hardware_boot_id, system_utc_s
from bus.disk import MB
from bus.logs import utc_text
from bus.process import lock_holder
from bus.version import VERSION

_FILES_MAX = 500
_READ_MAX = 64 << 10
_PLUGGED = ("/dev/serial/by-id/*", "/dev/serial/by-path/*", "/dev/input/by-id/*", "/dev/tty[AUS]*[0-9]", "/dev/gpiochip*")
_OF_A_PROCESS = ("VmPeak", "VmRSS", "VmSwap", "Threads")
_CLOCK_FILES = ("/sys/class/rtc/rtc0/date", "/sys/class/rtc/rtc0/time")


def versions() -> str:
    """Firmware, Python, libraries, kernel."""
    system = os.uname()
    packages = sorted(f"{one.name} {one.version}" for one in importlib.metadata.distributions() if one.name)
    lines = [
        f"chargebus {VERSION}",
        f"Python {sys.version.split()[0]} ({sys.executable})",
        f"SQLite {sqlite3.sqlite_version}",
        f"kernel {system.sysname} {system.release} {system.version} {system.machine}",
        f"libc {' '.join(platform.libc_ver())}",
        *(line for line in _text("/etc/os-release").splitlines() if line.startswith("PRETTY_NAME=")),
        f"board {_text('/proc/device-tree/model').strip(chr(0)) or 'not told by the kernel'}",
        f"cores {os.cpu_count()}",
        "",
        *dict.fromkeys(packages),
    ]
    return _joined(lines)


def disk(state_dir: str) -> str:
    """Free space of each file system of the station, and the sizes of its files."""
    lines = []
    for path in (state_dir, os.path.join(state_dir, "log"), "/", "/tmp"):
        with contextlib.suppress(OSError):
            found = os.statvfs(path)
            kind = "read-only" if found.f_flag & os.ST_RDONLY else "writable"
            sizes = f"{found.f_bavail * found.f_frsize // MB} MB free of {found.f_blocks * found.f_frsize // MB} MB"
            lines.append(f"{path}: {sizes}, {found.f_favail} of {found.f_files} inodes free, {kind}")
    lines += ["", *(line for line in _text("/proc/mounts").splitlines() if line.startswith("/")), ""]
    for number, (path, about) in enumerate(_files(state_dir)):
        if number == _FILES_MAX:
            lines.append("and more")
            break
        lines.append(
            f"{about.st_size:>12} {utc_text(about.st_mtime)} {about.st_mode & 0o7777:o} {about.st_uid}:{about.st_gid} {path}"
        )
    return _joined(lines)


def clock() -> str:
    """The clocks of the board; `status` has the one that is believed."""
    from services.ocpp_link.adjtime import system_clock_synchronised

    utc_s, up_s = system_utc_s(), boottime_s()
    return _joined(
        [
            f"system clock {utc_text(utc_s)}, {'' if system_clock_synchronised() else 'not '}synchronised",
            f"up {up_s:.3f} s, since {utc_text(utc_s - up_s)} by the system clock",
            f"boot {hardware_boot_id()}",
            f"hardware clock {' '.join(_text(path).strip() for path in _CLOCK_FILES).strip() or 'none that the kernel tells'}",
        ]
    )


def memory(run_dir: str) -> str:
    """Of the board and of each process of the station, by its lock."""
    wanted = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree")
    lines = [line for line in _text("/proc/meminfo").splitlines() if line.startswith(wanted)]
    lines += [f"load {_text('/proc/loadavg').strip()}", ""]
    for lock in sorted(glob.glob(os.path.join(glob.escape(run_dir), "*.lock"))):
        pid = lock_holder(lock)
        if pid is None:
            lines.append(f"{os.path.basename(lock).removesuffix('.lock')}: no process")
            continue
        said = _values(_text(f"/proc/{pid}/status")) | _values(_text(f"/proc/{pid}/smaps_rollup"))
        files = len(glob.glob(f"/proc/{pid}/fd/*"))
        shown = [f"{name} {said[name]}" for name in (*_OF_A_PROCESS, "Pss") if name in said]
        name = os.path.basename(lock).removesuffix(".lock")
        lines.append(f"{name}: process {pid}, {', '.join([*shown, f'{files} open files'])}")
    return _joined(lines)


def plugged() -> str:
    """Ports that the kernel has, by their lasting names too. None is opened."""
    lines = []
    for pattern in _PLUGGED:
        for path in sorted(glob.glob(pattern)):
            with contextlib.suppress(OSError):
                about = os.stat(path)
                real = os.path.realpath(path)
                lines.append(
                    f"{path}{'' if real == path else f' -> {real}'} {about.st_mode & 0o777:o} {about.st_uid}:{about.st_gid}"
                )
    return _joined(lines or ["no serial port, input device or GPIO chip"])


def _files(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    for parent, _, names in sorted(os.walk(directory)):
        for name in sorted(names):
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):
                yield os.path.relpath(path, directory), os.lstat(path)


def _values(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: " ".join(value.split()) for name, _, value in pairs}


def _text(path: str) -> str:
    """A small file; empty where it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_READ_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
