"""What a station needs around it, judged: ports, disk, clock, certificates. Pure: facts in, findings out.

Owns: what is wrong, how bad it is, and the remedy, one line each. Does not: look (`look_around.py`) or know the rules on
`station.toml` itself (`services.configuration`).
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from bus.disk import BALLAST_BYTES, MB

_EARLIEST_UTC_S = 1_735_689_600
"""The beginning of 2025. A clock that is before it has never been set."""
_EXPIRES_SOON_S = 30 * 86400
_IN_MEMORY = ("tmpfs", "ramfs")
_CHANGING = ("/dev/ttyUSB", "/dev/ttyACM", "/dev/hidraw", "/dev/input/event")
"""Names that the kernel gives in the order in which it meets the devices."""


class Severity(StrEnum):
    """How bad a finding is, in the word that it is printed with."""

    FATAL = "does not start"
    WRONG = "wrong"
    ADVICE = "advice"


class Finding(msgspec.Struct, frozen=True):
    """One line for a person: what is wrong, and what to do."""

    severity: Severity
    text: str


class PortFacts(msgspec.Struct, frozen=True):
    """A port as it is found, without being opened: that alone resets some controllers.

    `problem`: why it is no port at all. `group`: whose it is. `holders`: other programs that have it open.
    """

    where: str
    path: str
    problem: str = ""
    may_open: bool = True
    group: str = ""
    console: bool = False
    holders: tuple[str, ...] = ()
    lasting_name: str = ""


class StateFacts(msgspec.Struct, frozen=True):
    """The state directory. `foreign`: files in it that the station's user can't write."""

    path: str
    exists: bool = True
    writable: bool = True
    foreign: tuple[str, ...] = ()
    read_only: bool = False
    free_bytes: int = 1 << 40
    file_system: str = ""


class CertificateFacts(msgspec.Struct, frozen=True):
    """A file of certificates; the first of them that ends."""

    file: str
    problem: str = ""
    ends_utc_s: float | None = None
    subject: str = ""


class Facts(msgspec.Struct, frozen=True):
    """All that was seen. `groups`: what this process is in; `groups_by_file`: what its user is in from the next start on."""

    user: str
    state: StateFacts
    utc_s: float
    ports: tuple[PortFacts, ...] = ()
    groups: frozenset[str] = frozenset()
    groups_by_file: frozenset[str] = frozenset()
    clock_synchronised: bool = True
    certificates: tuple[CertificateFacts, ...] = ()
    has_system_certificates: bool = True
    key_readable_by_all: bool = False
    can_reboot: bool = True
    central_system_problem: str = ""


def findings(facts: Facts, *, disk_reserve_bytes: int) -> Iterator[Finding]:
    """Everything that is wrong around the station, the worst of each kind first."""
    yield from _of_state(facts, disk_reserve_bytes)
    for port in facts.ports:
        yield from _of_port(port, facts)
    yield from _of_names(facts.ports)
    yield from _of_clock(facts)
    yield from _of_certificates(facts)
    if facts.key_readable_by_all:
        yield _wrong("station.toml has an authorization_key, and everybody on this board can read it; chmod 640 the file")
    if not facts.can_reboot:
        yield _wrong('[system] on_reset: is "reboot", but there is no /sbin/reboot here; use "restart", or install it')
    if facts.central_system_problem:
        yield _advice(
            f"[central_system] url: {facts.central_system_problem}; check network and url. Until then the station works offline"
        )


def _of_state(facts: Facts, disk_reserve_bytes: int) -> Iterator[Finding]:
    state = facts.state
    if state.read_only:
        yield _fatal(f"{state.path} is on a read-only disk; mount it for writing")
    elif not state.writable:
        what = "can't be written" if state.exists else "is not there and can't be made"
        yield _fatal(f"{state.path} {what} by user {facts.user}; give it to that user: chown {facts.user}, mode 750")
    for path in state.foreign:
        yield _fatal(f"{path} can't be written by user {facts.user}; give it to that user: chown {facts.user}")
    if state.file_system in _IN_MEMORY:
        yield _wrong(
            f"{state.path} is in memory ({state.file_system}): a power cut loses transactions; move it to a disk, or mount one"
        )
    if state.free_bytes < disk_reserve_bytes + BALLAST_BYTES:
        yield _wrong(
            f"{state.path} has {state.free_bytes // MB} MB free; below {disk_reserve_bytes // MB} MB "
            "([system] disk_reserve_mb) no new transactions begin, so make room"
        )


def _of_port(port: PortFacts, facts: Facts) -> Iterator[Finding]:
    if port.problem:
        yield _wrong(f"{port.where}: {port.problem}")
        return
    if not port.may_open:
        yield _wrong(f"{port.where}: {port.path} may not be opened by user {facts.user}; {_way_in(port, facts)}")
    if port.console:
        yield _wrong(
            f"{port.where}: {port.path} is the kernel's console, which writes into the device; "
            "remove that console= from the kernel's command line, and disable the getty on it"
        )
    if port.holders:
        names = ", ".join(port.holders)
        yield _wrong(f"{port.where}: {port.path} is used by {names}; end that program, or give each device a port of its own")


def _way_in(port: PortFacts, facts: Facts) -> str:
    if port.group in ("", "root"):
        return f"it belongs to root alone: a udev rule has to give it to a group that {facts.user} is in"
    if port.group in facts.groups:
        return f"it gives group {port.group} no right to read and write: chmod g+rw, by a udev rule"
    if port.group in facts.groups_by_file:
        return f"{facts.user} was added to group {port.group} after this login: log in again, or restart the station"
    return f"usermod --append --groups {port.group} {facts.user}, then restart the station"


def _of_names(ports: tuple[PortFacts, ...]) -> Iterator[Finding]:
    """One such device keeps its name; two may change theirs, and then the meter is taken for the controller."""
    changing = [port for port in ports if port.path.startswith(_CHANGING)]
    if len(changing) < 2:
        return
    for port in changing:
        better = f"; this one is {port.lasting_name}" if port.lasting_name else ""
        yield _advice(
            f"{port.where}: {port.path} may be another device after a boot; use its name in /dev/serial/by-id{better}"
        )


def _of_clock(facts: Facts) -> Iterator[Finding]:
    if facts.utc_s < _EARLIEST_UTC_S:
        yield _wrong(
            "the system clock has never been set; install a time service or fit a battery clock. "
            "The station keeps transactions and dates them when the Central System tells the time"
        )
    elif not facts.clock_synchronised:
        yield _advice("nothing keeps the system clock right; install a time service (systemd-timesyncd, chrony)")


def _of_certificates(facts: Facts) -> Iterator[Finding]:
    where = "[central_system] root_ca_files"
    for certificate in facts.certificates:
        if certificate.problem:
            yield _wrong(f"{where}: {certificate.file} can't be used ({certificate.problem}); give another file")
        elif certificate.ends_utc_s is not None and certificate.ends_utc_s < facts.utc_s:
            yield _wrong(
                f"{where}: {certificate.file} has a certificate that has ended ({certificate.subject}); "
                "ask the operator for the new one, or set the clock"
            )
        elif certificate.ends_utc_s is not None and certificate.ends_utc_s < facts.utc_s + _EXPIRES_SOON_S:
            days = int((certificate.ends_utc_s - facts.utc_s) // 86400)
            yield _advice(f"{where}: {certificate.file} ends in {days} days; ask the operator for the new one")
    if not facts.has_system_certificates:
        yield _wrong(f"{where}: none are given, and the system has none; apt-get install ca-certificates, or give the files")


def _fatal(text: str) -> Finding:
    return Finding(Severity.FATAL, text)


def _wrong(text: str) -> Finding:
    return Finding(Severity.WRONG, text)


def _advice(text: str) -> Finding:
    return Finding(Severity.ADVICE, text)
