"""What counts as not well, and the words for it (issue 2: `station status`)."""

import msgspec
import pytest

from bus.messages import (
    ClockState,
    ConnectorState,
    DeviceHealth,
    LinkState,
    MeterSample,
    MeterState,
    Moment,
    Problem,
    QueueState,
    ReaderState,
    ReservationView,
    ServiceHealth,
    TransactionView,
    WatchdogState,
)
from bus.profile_messages import LocalListState
from bus.vocabulary import ChargePointErrorCode, ChargePointStatus, RegistrationStatus
from services.station import layout
from services.station.facts import Facts, ServiceFacts
from services.station.programs import PROGRAMS, programs
from services.station.report import report

BOOT = "this-boot"
NOW_S = 1000.0
UTC_S = 1_800_000_000.0


def moment(ago_s: float, *, boot_id: str = BOOT, utc: bool = True) -> Moment:
    return Moment(boot_id, round((NOW_S - ago_s) * 1000), round((UTC_S - ago_s) * 1000) if utc else None)


def health(pid: int, *problems: str, devices: tuple[DeviceHealth, ...] = ()) -> ServiceHealth:
    found = tuple(Problem(text, NOW_S - 300) for text in problems)
    return ServiceHealth(pid, "1", NOW_S - 3600, problems=found, devices=devices)


def service(name: str, **changes: object) -> ServiceFacts:
    well = ServiceFacts(name, "RUNNING", 100, 3600.0, "", health(100))
    return msgspec.structs.replace(well, **changes)


def facts(**changes: object) -> Facts:
    """A station that is well, but for the changes."""
    well = Facts(
        state_dir="/state",
        now_boottime_s=NOW_S,
        system_utc_s=0.0,
        boot_id=BOOT,
        uptime_s=3600.0,
        supervisor_pid=99,
        bus_attached=True,
        services=tuple(service(program.name) for program in programs(virtual=False)),
        link=LinkState(True, RegistrationStatus.ACCEPTED, 1, True, NOW_S - 5),
        clock=ClockState("central_system", UTC_S - NOW_S),
        connectors={"1": ConnectorState(1, ChargePointStatus.AVAILABLE, moment(60))},
        samples={"1": MeterSample(1, NOW_S - 0.5, "S1", 5000, power_w=0.0)},
        meters={"1": MeterState(1)},
        reader=ReaderState(),
        queue=QueueState(0, 0),
    )
    return msgspec.structs.replace(well, **changes)


def with_service(name: str, **changes: object) -> Facts:
    services = facts().services
    return facts(services=tuple(service(name, **changes) if row.name == name else row for row in services))


def reasons(found: Facts) -> list[str]:
    return [reason.text for reason in report(found).reasons]


def test_a_station_without_a_reason_to_complain_is_well() -> None:
    answer = report(facts())
    assert answer.well
    assert layout.lines(answer)[0] == "well, up 1 h"


def test_the_first_line_says_what_is_wrong_and_since_when() -> None:
    line = layout.lines(report(with_service("meter", health=health(100, "no answer from ttyUSB0"))))[0]
    assert line == "NOT WELL: meter: no answer from ttyUSB0 (for 5 min)"


@pytest.mark.parametrize("state", ["FATAL", "STOPPED", "EXITED"])
def test_a_service_that_does_not_run_is_down(state: str) -> None:
    found = with_service("rfid", state=state, pid=0, error="Exited too quickly")
    assert reasons(found) == [f"rfid is down ({state}: Exited too quickly)"]
    assert report(found).services["rfid"].health == "down"


def test_a_service_that_crashes_at_its_start_says_where_to_look() -> None:
    found = with_service("rfid", state="BACKOFF", pid=0, error="Exited too quickly (process log may have details)")
    assert reasons(found) == ["rfid is down (it ends right after each start, `station logs rfid` says why)"]


def test_what_the_process_before_said_is_nothing_about_the_one_that_runs_now() -> None:
    """Its health stays in the broker for a while after a kill."""
    assert reasons(with_service("rfid", pid=200, uptime_s=2.0)) == ["rfid is starting"]
    assert reasons(with_service("rfid", pid=200, uptime_s=60.0)) == ["rfid runs but is not heard on the bus"]


def test_a_silent_service_is_noticed() -> None:
    assert reasons(with_service("rfid", health=None)) == ["rfid runs but is not heard on the bus"]


def test_the_simulator_is_not_missed_on_the_bus() -> None:
    """Hardware does not talk there."""
    found = facts(services=(*facts().services, service("simulator", health=None, on_bus=False)))
    assert report(found).well
    assert report(found).services["simulator"].health == "well"


def test_a_device_that_does_not_answer_is_a_reason() -> None:
    lost = DeviceHealth("meter-1", connected=False, detail="no such port")
    assert reasons(with_service("meter", health=health(100, devices=(lost,)))) == [
        "meter: meter-1 does not answer: no such port"
    ]


def test_without_the_bus_only_the_processes_are_judged() -> None:
    silent = tuple(service(program.name, health=None) for program in programs(virtual=False))
    found = facts(bus_attached=False, services=silent, link=None, clock=None, connectors={}, samples={}, queue=None)
    assert reasons(found) == ["the bus does not answer, so only the processes are known"]
    assert {row.health for row in report(found).services.values()} == {"unknown"}


def test_without_supervisord_the_services_speak_for_themselves() -> None:
    heard = tuple(service(program.name, state="") for program in programs(virtual=False))
    found = facts(supervisor_error="supervisord does not answer: refused", services=heard)
    assert reasons(found) == ["supervisord does not answer: refused"]
    assert {row.health for row in report(found).services.values()} == {"well"}


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (LinkState(False, detail="next try in 4 s"), "not connected to the Central System: next try in 4 s"),
        (LinkState(True, RegistrationStatus.PENDING), "not accepted by the Central System (Pending)"),
        (LinkState(True), "not accepted by the Central System (no answer to BootNotification yet)"),
        (None, "nothing is known of the link to the Central System"),
    ],
)
def test_a_link_that_is_not_online_is_a_reason(link: LinkState | None, reason: str) -> None:
    assert reasons(facts(link=link)) == [reason]


def test_what_a_dead_service_would_say_is_not_missed_twice() -> None:
    found = with_service("ocpp_link", state="FATAL", pid=0)
    assert reasons(msgspec.structs.replace(found, link=None, clock=None)) == ["ocpp_link is down (FATAL)"]


def test_a_fault_is_a_reason_and_an_unavailable_connector_is_none() -> None:
    """Unavailable is somebody's wish (OCPP 1.6 §5.2)."""
    faulted = ConnectorState(1, ChargePointStatus.FAULTED, moment(120), ChargePointErrorCode.GROUND_FAILURE, "residual current")
    answer = report(facts(connectors={"1": faulted}))
    assert [(reason.text, reason.for_s) for reason in answer.reasons] == [
        ("connector 1: Faulted, GroundFailure, residual current", 120.0)
    ]
    assert report(facts(connectors={"1": ConnectorState(1, ChargePointStatus.UNAVAILABLE, moment(1))})).well


def test_meter_reader_clock_and_dead_letters_are_reasons() -> None:
    found = facts(
        meters={"1": MeterState(1, "the register went back")},
        reader=ReaderState("no answer"),
        clock=ClockState("none"),
        queue=QueueState(2, 3, moment(90)),
    )
    assert reasons(found) == [
        "the time is not known",
        "meter of connector 1: the register went back",
        "reader: no answer",
        "transaction messages that were given up and are kept: 3",
    ]


def test_what_the_queue_has_said_itself_is_not_said_twice() -> None:
    said = health(100, "transaction messages that were given up and are kept: 3; see station queue")
    known = with_service("transaction_queue", health=said)
    assert len(reasons(msgspec.structs.replace(known, queue=QueueState(0, 3, moment(90))))) == 1


def test_a_reading_that_is_not_of_now_says_so() -> None:
    """The power of a meter that does not answer any more is that of then."""
    assert " ago" not in _meter_line(facts())
    old = MeterSample(1, NOW_S - 75, "S1", 5000, power_w=11040.0)
    assert _meter_line(facts(samples={"1": old})).endswith("meter 5.000 kWh, 11.04 kW, read 1 min 15 s ago")


def _meter_line(found: Facts) -> str:
    (line,) = [line for line in layout.lines(report(found)) if " meter 5" in line]
    return line


def test_a_transaction_shows_its_energy_and_no_whole_id_tag() -> None:
    running = TransactionView("local-1", "04A1B2C3D4", moment(600), 4000, transaction_id=42)
    state = ConnectorState(1, ChargePointStatus.CHARGING, moment(590), plugged=True, relay_closed=True, transaction=running)
    answer = report(facts(connectors={"1": state}))
    shown = answer.connectors["1"].transaction
    assert shown is not None
    assert (shown.transaction_id, shown.energy_wh, shown.for_s) == (42, 1000, 600.0)
    text = "\n".join(layout.lines(answer)) + msgspec.json.encode(answer).decode()
    assert "04A1B2C3D4" not in text
    assert "transaction 42, card 04A1…D4, 1.000 kWh, for 10 min" in text


def test_a_reservation_shows_its_end_and_no_whole_id_tag() -> None:
    kept = ReservationView(7, "04A1B2C3D4", 1_800_000_000_000)
    state = ConnectorState(1, ChargePointStatus.RESERVED, moment(590), reservation=kept)
    answer = report(facts(connectors={"1": state, "0": ConnectorState(0, ChargePointStatus.AVAILABLE, moment(1))}))
    assert answer.connectors["0"].reservation is None
    text = "\n".join(layout.lines(answer)) + msgspec.json.encode(answer).decode()
    assert "04A1B2C3D4" not in text
    assert "reservation 7, card 04A1…D4, until 2027-01-15T08:00:00.000Z" in text


def test_another_meter_gives_no_negative_energy() -> None:
    running = TransactionView("local-1", "04A1B2C3D4", moment(600), 9000)
    state = ConnectorState(1, ChargePointStatus.CHARGING, moment(590), transaction=running)
    shown = report(facts(connectors={"1": state})).connectors["1"].transaction
    assert shown is not None
    assert shown.energy_wh is None


def test_ages_go_by_the_boards_clock_in_this_boot_and_by_utc_across_boots() -> None:
    """design §5."""
    assert _oldest_age_s(moment(90, utc=False)) == 90.0
    assert _oldest_age_s(moment(90, boot_id="earlier")) == 90.0
    assert _oldest_age_s(moment(90, boot_id="earlier", utc=False)) is None


def test_connectors_come_in_the_order_of_their_numbers() -> None:
    states = {key: ConnectorState(int(key), ChargePointStatus.AVAILABLE, moment(1)) for key in ("10", "2", "0", "1")}
    assert list(report(facts(connectors=states)).connectors) == ["0", "1", "2", "10"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (-0.0, "0 s")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert layout.duration(seconds) == text


def _oldest_age_s(at: Moment) -> float | None:
    queue = report(facts(queue=QueueState(1, 0, at))).queue
    assert queue is not None
    return queue.oldest_age_s


def test_the_local_list_is_shown_where_there_is_one() -> None:
    """Issue 5: how many entries, which version. A list that is off and empty is not worth a line."""
    assert report(facts()).local_list is None
    shown = [line for line in layout.lines(report(facts(local_list=LocalListState(True, 239, 1234)))) if "list" in line]
    assert shown == ["local list   1234 entries, version 239"]
    off = layout.lines(report(facts(local_list=LocalListState(False, 239, 2))))
    assert any(line.startswith("local list   2 entries, version 239, not in use: ") for line in off)
    assert not any("local list" in line for line in layout.lines(report(facts(local_list=LocalListState(False)))))


def test_warnings_leave_it_well_and_stand_in_the_first_line() -> None:
    """Issue 7: what a maintainer should know, and since when."""
    out = ConnectorState(1, ChargePointStatus.UNAVAILABLE, moment(60), out_of_service_since=moment(120))
    changed = facts(behind={"rfid": ("[reader]",), "meter": ("[supply]",)}, connectors={"1": out})
    answer = report(changed)
    assert answer.well
    assert layout.lines(answer)[0] == (
        "well, up 1 h, but: [reader], [supply] of station.toml changed: station restart meter rfid; "
        "connector 1 is out of service by a command at the station (for 2 min)"
    )
    reset = report(facts(watchdog=WatchdogState(board_was_reset=True)))
    assert [reason.text for reason in reset.warnings] == ["the hardware watchdog has reset the board"]
    old = facts(watchdog=WatchdogState(board_was_reset=True), now_boottime_s=90_000.0)
    assert "reset the board" not in layout.lines(report(old))[0]


def test_a_station_toml_that_is_wrong_now_and_a_new_program_are_told() -> None:
    answer = report(facts(config_problem="/etc/x: [supply]: bad", programs_changed=("metrics",)))
    assert [reason.text for reason in answer.warnings] == [
        "station.toml is wrong now, no service would start again: /etc/x: [supply]: bad",
        "[metrics] of station.toml was added or removed: end the station and start it anew",
    ]


def test_warnings_come_after_what_is_not_well() -> None:
    answer = report(facts(reader=ReaderState("no answer"), behind={"rfid": ("[reader]",)}))
    first = layout.lines(answer)[0]
    assert first == "NOT WELL: reader: no answer; also: [reader] of station.toml changed: station restart rfid"


def test_a_station_that_charges_fits_one_screen() -> None:
    """Issue 7: 24 lines of 80 columns, with every service, a transaction that goes out of service next, and a local list."""
    devices = {
        "connectors": (DeviceHealth("estop", True, ""), DeviceHealth("evse-1", True, "", identity="OpenEVSE OpenEVSE 8.2.3")),
        "meter": (DeviceHealth("meter-1", True, "", identity="Eastron SDM630 24110001", timeouts=12),),
        "rfid": (DeviceHealth("reader", True, "", identity="RDM6300"),),
    }
    long = 3 * 86400.0 + 23 * 3600
    services = tuple(
        service(program.name, pid=1234567, uptime_s=long, health=health(1234567, devices=devices.get(program.name, ())))
        for program in PROGRAMS
        if not program.virtual_only
    )
    running = TransactionView("local-1", "04A1B2C3D4", moment(600), 4000, transaction_id=2**31 - 1)
    charging = ConnectorState(
        1, ChargePointStatus.CHARGING, moment(590), offered_a=32.0, transaction=running, out_of_service_since=moment(5)
    )
    sample = MeterSample(1, NOW_S - 0.5, "S1", 123_456_789, power_w=22_080.0, currents_a=(32.0, 32.0, 32.0))
    found = facts(
        services=services,
        connectors={"0": ConnectorState(0, ChargePointStatus.AVAILABLE, moment(600)), "1": charging},
        samples={"1": sample},
        local_list=LocalListState(True, 239, 1234),
        queue=QueueState(12, 0, moment(90)),
        state_dir="/var/lib/chargebus",
    )
    first, *rest = layout.lines(report(found))
    assert len(rest) + -(-len(first) // 80) <= 24
    assert [line for line in rest if len(line) > 80] == []
    assert "meter-1      answers, Eastron SDM630 24110001; timeouts 12" in rest
    assert not any("evse-1       answers" in line for line in rest), "a device without trouble needs no line of its own"
