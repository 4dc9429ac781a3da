"""Which services have to be restarted after a change of station.toml (issue 7)."""

import msgspec
import pytest

from services.configuration import applied, model
from services.configuration.applied import READ_BY, behind, digests
from services.configuration.model import CentralSystem, Connector, Evse, Meter, Policy, Reader, Station, StationConfig, Supply
from services.station.programs import PROGRAMS

METER = Meter(driver="sdm630", port="/dev/m")
CONFIG = StationConfig(
    station=Station(identity="CP", vendor="V", model="M"),
    central_system=CentralSystem(url="ws://x/", authorization_key="secret"),
    supply=Supply(max_current_a=32),
    connectors=(Connector(id=1, cable="fixed", evse=Evse(driver="openevse", port="/dev/e"), meter=METER),),
)


def started(config: StationConfig = CONFIG) -> dict[str, dict[str, int]]:
    return {service: digests(config, service) for service in READ_BY}


def changed(**sections: object) -> dict[str, tuple[str, ...]]:
    return behind(msgspec.structs.replace(CONFIG, **sections), started())


def test_an_unchanged_file_needs_nobody() -> None:
    assert changed() == {}


@pytest.mark.parametrize(
    ("sections", "services"),
    [
        ({"reader": Reader(driver="pn532")}, {"rfid"}),
        ({"station": Station(identity="CP-2", vendor="V", model="M")}, {"ocpp_link"}),
        ({"ocpp": {"HeartbeatInterval": "60"}}, {"ocpp_link"}),
        ({"supply": Supply(max_current_a=16)}, {"ocpp_link", "connectors", "meter"}),
        ({"policy": Policy(backlog_messages_per_s=1)}, {"transaction_queue"}),
        ({"policy": Policy(charge_on_full_disk=True)}, {"connectors"}),
        ({"system": model.System(hardware_watchdog="/dev/watchdog")}, {"watchdog"}),
        ({"system": model.System(on_reset="reboot")}, {"ocpp_link"}),
        ({"logs": model.Logs(full_id_tags=True)}, {"ocpp_link", "connectors"}),
        ({"metrics": model.Metrics(listen="127.0.0.1:1")}, {"metrics"}),
    ],
)
def test_a_change_needs_those_who_read_it(sections: dict[str, object], services: set[str]) -> None:
    assert set(changed(**sections)) == services


def test_parts_are_named_as_the_file_writes_them() -> None:
    connector = msgspec.structs.replace(CONFIG.connectors[0], max_current_a=10)
    assert changed(connectors=(connector,))["meter"] == ("[[connector]]",)
    assert changed(system=model.System(disk_reserve_mb=64))["transaction_queue"] == ("[system] disk_reserve_mb",)


def test_a_service_that_has_told_nothing_is_not_accused() -> None:
    """It is of an older release."""
    assert behind(msgspec.structs.replace(CONFIG, reader=Reader(driver="pn532")), {"rfid": {}}) == {}


def test_every_part_is_read_by_somebody_and_every_service_is_listed() -> None:
    parts = {part.partition(".")[0] for read in READ_BY.values() for part in read}
    assert parts == {field.name for field in msgspec.structs.fields(StationConfig)}
    assert set(READ_BY) == {program.name for program in PROGRAMS if program.on_bus}
    for section in ("policy", "system"):
        known = {part.partition(".")[2] for read in READ_BY.values() for part in read if part.startswith(f"{section}.")}
        assert known == {field.name for field in msgspec.structs.fields(type(applied._part(CONFIG, section)))}  # type: ignore[arg-type]


def test_no_password_is_told() -> None:
    assert "secret" not in repr(started())
    assert all(isinstance(number, int) and number < 2**32 for parts in started().values() for number in parts.values())
