"""Sees what is around a station, for `station check`: ports, disk, clock, certificates, the way to the Central System.

Owns: looking. Opens no port and writes nothing, so that it may be used beside a running station; one connection to the
Central System is opened and closed again. Does not: judge (`surroundings.py`).
"""

import contextlib
import errno
import glob
import grp
import os
import pwd
import socket
import stat
import time
from typing import cast

from bus.disk import Disk
from services.configuration.checks import ports
from services.configuration.station import StationConfig
from services.ocpp_link import url
from services.station import paths
from services.station.surroundings import CertificateFacts, Facts, PortFacts, StateFacts

_CONNECT_S = 3.0
_REBOOT = "/sbin/reboot"
_ONLY_READ = "/dev/input/"
"""Readers that are keyboards are never written to."""


def look_around(config: StationConfig, config_path: str, state_dir: str, *, virtual: bool) -> Facts:
    """The facts about the board that this process runs on, as its user sees them."""
    from services.ocpp_link.adjtime import system_clock_synchronised

    central = config.central_system
    secure = central.security_profile >= 2
    return Facts(
        user=_user_name(os.geteuid()),
        state=_state(state_dir, virtual=virtual),
        utc_s=time.time(),
        ports=() if virtual else tuple(_port(where, path, state_dir) for where, path in ports(config) if path),
        groups=frozenset(_group_name(number) for number in {*os.getgroups(), os.getegid()}),
        groups_by_file=_groups_by_file(_user_name(os.geteuid())),
        clock_synchronised=system_clock_synchronised(),
        certificates=tuple(_certificate(file) for file in central.root_ca_files) if secure else (),
        has_system_certificates=bool(central.root_ca_files) or not secure or _has_system_certificates(),
        key_readable_by_all=bool(central.authorization_key) and bool(_mode(config_path) & stat.S_IROTH),
        can_reboot=config.system.on_reset != "reboot" or os.access(_REBOOT, os.X_OK),
        central_system_problem=_central_system_problem(central.url),
    )


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _groups_by_file(user: str) -> frozenset[str]:
    return frozenset(group.gr_name for group in grp.getgrall() if user in group.gr_mem)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _port(where: str, path: str, state_dir: str) -> PortFacts:
    from services.hardware.port import port_missing

    try:
        found = os.stat(path)
        if not stat.S_ISCHR(found.st_mode):
            raise OSError(errno.ENOTTY, "no device")
    except OSError as error:
        return PortFacts(where, path, problem=str(port_missing(path, error)))
    real = os.path.realpath(path)
    return PortFacts(
        where,
        path,
        may_open=os.access(path, os.R_OK if real.startswith(_ONLY_READ) else os.R_OK | os.W_OK),
        group=_group_name(found.st_gid),
        console=os.path.basename(real) in _consoles(),
        holders=tuple(_holders(real, state_dir)),
        lasting_name=next((link for link in glob.glob("/dev/serial/by-id/*") if os.path.realpath(link) == real), ""),
    )


def _consoles() -> list[str]:
    try:
        with open("/proc/consoles", encoding="ascii", errors="replace") as file:
            return [line.split()[0] for line in file if line.strip()]
    except OSError:
        return []


def _holders(device: str, state_dir: str) -> list[str]:
    """Programs that have it open, but for the services of this station. Of other users only root sees any."""
    station = _station_pid(state_dir)
    found = set()
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if os.readlink(link) == device:
                pid = int(link.split("/")[2])
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                    text = file.read()
                parent = int(text.rpartition(")")[2].split()[1])
                if station is None or parent != station:
                    found.add(f"{text.partition('(')[2].rpartition(')')[0]} (process {pid})")
    return sorted(found)


def _station_pid(state_dir: str) -> int | None:
    from bus.process import lock_holder

    with contextlib.suppress(OSError):
        return lock_holder(os.path.join(state_dir, paths.RUN_DIRECTORY, paths.STATION_LOCK))
    return None


def _state(path: str, *, virtual: bool) -> StateFacts:
    exists = os.path.isdir(path)
    there = path
    while not os.path.isdir(there):
        there = os.path.dirname(there) or "/"
    space = Disk(there).look()
    return StateFacts(
        path,
        exists=exists,
        writable=os.access(there, os.W_OK | os.X_OK),
        foreign=tuple(_foreign(path)),
        read_only=space.read_only,
        free_bytes=space.free_bytes,
        # What a virtual station keeps may well be forgotten.
        file_system="" if virtual else _file_system(there),
    )


def _foreign(state_dir: str) -> list[str]:
    """What another user, mostly root, has left: databases, locks, and the directories that services write in."""
    names = [paths.RUN_DIRECTORY, paths.LOG_DIRECTORY, *(os.path.join(paths.RUN_DIRECTORY, "*.lock"), "*.db", "*.db-wal")]
    found = [path for name in names for path in glob.glob(os.path.join(glob.escape(state_dir), name))]
    return [path for path in sorted(found) if not os.access(path, os.W_OK)]


def _file_system(path: str) -> str:
    """Type of the file system that `path` is on, by the mount that is nearest above it."""
    best, kind = "", ""
    real = os.path.realpath(path)
    with contextlib.suppress(OSError, IndexError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            mount = head.split()[4]
            if os.path.commonpath([mount, real]) == mount and len(mount) >= len(best):
                best, kind = mount, tail.split()[0]
    return kind


def _certificate(file: str) -> CertificateFacts:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        return CertificateFacts(file, problem=str(getattr(error, "reason", None) or error.strerror or error))
    ends = [(ssl.cert_time_to_seconds(str(found["notAfter"])), found) for found in context.get_ca_certs()]
    if not ends:
        return CertificateFacts(file)
    ends_utc_s, first = min(ends, key=lambda end: end[0])
    parts = cast("tuple[tuple[tuple[str, str], ...], ...]", first.get("subject", ()))
    subject = ", ".join(f"{name}={value}" for part in parts for name, value in part)
    return CertificateFacts(file, ends_utc_s=float(ends_utc_s), subject=subject)


def _has_system_certificates() -> bool:
    import ssl

    known = ssl.get_default_verify_paths()
    directory = known.capath
    return bool(known.cafile) or bool(directory and os.path.isdir(directory) and os.listdir(directory))


def _central_system_problem(text: str) -> str:
    """Why no connection to the Central System can be opened now; empty: one can."""
    try:
        endpoint = url.parse(text)
    except url.UrlError:
        return ""  # Told already, as a rule on station.toml that is broken.
    try:
        socket.create_connection((endpoint.host, endpoint.port), _CONNECT_S).close()
    except socket.gaierror:
        return f"the name {endpoint.host} can't be resolved"
    except TimeoutError:
        return f"{endpoint.host} port {endpoint.port} does not answer within {_CONNECT_S:g} s"
    except OSError as error:
        return f"{endpoint.host} port {endpoint.port} can't be reached ({error.strerror or error})"
    return ""
