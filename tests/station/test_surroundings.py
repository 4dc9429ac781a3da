"""What a station needs around it: each fact that is wrong is told with its remedy, and how bad it is (issue 7)."""

import msgspec
import pytest

from bus.disk import BALLAST_BYTES, MB
from services.station.surroundings import (
    CertificateFacts,
    Facts,
    Finding,
    PortFacts,
    Severity,
    StateFacts,
    findings,
)

NOW_UTC_S = 1_800_000_000.0
DAY_S = 86400.0
WELL = Facts(user="chargebus", state=StateFacts("/state"), utc_s=NOW_UTC_S, groups=frozenset({"chargebus", "dialout"}))
PORT = PortFacts("[reader] port", "/dev/serial/by-id/reader", group="dialout")
RESERVE = 32 * MB


def found(facts: Facts) -> list[Finding]:
    return list(findings(facts, disk_reserve_bytes=RESERVE))


def changed(facts: Facts, **fields: object) -> Facts:
    return msgspec.structs.replace(facts, **fields)


def port(**fields: object) -> Facts:
    return changed(WELL, ports=(msgspec.structs.replace(PORT, **fields),))


def state(**fields: object) -> Facts:
    return changed(WELL, state=msgspec.structs.replace(WELL.state, **fields))


def certificate(**fields: object) -> Facts:
    return changed(WELL, certificates=(CertificateFacts("ca.pem", **fields),))  # type: ignore[arg-type]


def test_where_all_is_well_nothing_is_said() -> None:
    enough = changed(state(free_bytes=RESERVE + BALLAST_BYTES), ports=(PORT,), certificates=(CertificateFacts("ca.pem"),))
    assert found(enough) == []


FATAL, WRONG, ADVICE = Severity.FATAL, Severity.WRONG, Severity.ADVICE


@pytest.mark.parametrize(
    ("facts", "severity", "words"),
    [
        (state(read_only=True, writable=False), FATAL, "/state is on a read-only disk; mount it"),
        (state(writable=False), FATAL, "/state can't be written by user chargebus; give it to that user: chown chargebus"),
        (state(exists=False, writable=False), FATAL, "is not there and can't be made"),
        (state(foreign=("/state/connectors.db",)), FATAL, "/state/connectors.db can't be written by user chargebus"),
        (state(file_system="tmpfs"), WRONG, "is in memory (tmpfs): a power cut loses transactions"),
        (state(free_bytes=RESERVE + BALLAST_BYTES - 1), WRONG, "has 39 MB free; below 32 MB ([system] disk_reserve_mb)"),
        (port(problem="port /dev/x is not there; plug it in"), WRONG, "[reader] port: port /dev/x is not there; plug it in"),
        (port(may_open=False, group="tape"), WRONG, "usermod --append --groups tape chargebus"),
        (port(may_open=False), WRONG, "gives group dialout no right to read and write"),
        (port(may_open=False, group="root"), WRONG, "belongs to root alone: a udev rule"),
        (
            changed(port(may_open=False, group="gpio"), groups_by_file=frozenset({"gpio"})),
            WRONG,
            "chargebus was added to group gpio after this login: log in again",
        ),
        (port(console=True), WRONG, "is the kernel's console"),
        (port(holders=("ModemManager (process 7)",)), WRONG, "is used by ModemManager (process 7); end that program"),
        (changed(WELL, utc_s=3600.0), WRONG, "the system clock has never been set"),
        (changed(WELL, clock_synchronised=False), ADVICE, "nothing keeps the system clock right"),
        (certificate(problem="PEM lib"), WRONG, "ca.pem can't be used (PEM lib)"),
        (certificate(ends_utc_s=NOW_UTC_S - 1, subject="CN=Root"), WRONG, "has ended (CN=Root)"),
        (certificate(ends_utc_s=NOW_UTC_S + 29.5 * DAY_S), ADVICE, "ca.pem ends in 29 days"),
        (changed(WELL, has_system_certificates=False), WRONG, "apt-get install ca-certificates"),
        (changed(WELL, key_readable_by_all=True), WRONG, "everybody on this board can read it; chmod 640"),
        (changed(WELL, can_reboot=False), WRONG, 'on_reset: is "reboot", but there is no /sbin/reboot'),
        (changed(WELL, central_system_problem="cs port 80 can't be reached"), ADVICE, "cs port 80 can't be reached; check"),
    ],
    ids=lambda value: value.replace(" ", "_")[:40] if isinstance(value, str) else "",
)
def test_each_thing_that_is_wrong_is_one_line_with_its_remedy(facts: Facts, severity: Severity, words: str) -> None:
    (finding,) = found(facts)
    assert finding.severity is severity
    assert words in finding.text
    assert "\n" not in finding.text


def test_one_certificate_that_is_good_for_long_is_no_finding() -> None:
    assert found(certificate(ends_utc_s=NOW_UTC_S + 31 * DAY_S)) == []


def test_two_devices_with_names_that_may_change_places_are_told_their_lasting_ones() -> None:
    one = PortFacts("one", "/dev/ttyUSB0", lasting_name="/dev/serial/by-id/usb-one")
    two = PortFacts("two", "/dev/ttyUSB1")
    assert found(changed(WELL, ports=(one,))) == []
    first, second = found(changed(WELL, ports=(one, two)))
    assert (first.severity, second.severity) == (ADVICE, ADVICE)
    assert first.text.endswith("this one is /dev/serial/by-id/usb-one")
    assert second.text.startswith("two: /dev/ttyUSB1 may be another device after a boot")


def test_all_is_told_at_once() -> None:
    facts = changed(state(writable=False), ports=(PORT, msgspec.structs.replace(PORT, console=True)), utc_s=0.0)
    assert len(found(facts)) == 3
