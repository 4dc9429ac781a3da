"""Errors: which there are, that each is told, and what a warning is (OCPP 1.6 §4.9, §7.6; field report 40)."""

import pytest

from bus.vocabulary import ChargePointErrorCode
from services.connectors import events as e
from services.connectors.errors import shortened
from services.hardware.contract import EvseFault
from tests.connectors.bench import Bench, charging
from tests.connectors.plant import GROUND_FAULT

SWITCH_FAULT = EvseFault(ChargePointErrorCode.POWER_SWITCH_FAILURE, "openevse:08", "stuck relay")
HOT = EvseFault(ChargePointErrorCode.HIGH_TEMPERATURE, "openevse:temperature", "81 °C", warning=True)


def told(bench: Bench, number: int = 1, since: int = 0) -> list[tuple[str, str]]:
    """Status and error of each word about a connector."""
    return [(said.status, said.error_code) for said in bench.audit.statuses[number][since:]]


def test_two_faults_raised_together_are_both_told_and_the_gravest_stays() -> None:
    """Field report 40."""
    bench = charging()
    said = len(bench.audit.statuses[1])
    bench.plants[1].faults = (GROUND_FAULT, SWITCH_FAULT)
    bench.advance(3)
    assert told(bench, since=said) == [("Faulted", "PowerSwitchFailure"), ("Faulted", "GroundFailure")]
    bench.plants[1].faults = (SWITCH_FAULT,)
    bench.advance(3)
    assert told(bench, since=said)[2:] == [("Faulted", "PowerSwitchFailure")]


def test_an_error_that_comes_under_a_graver_one_is_told_each_time_that_it_comes() -> None:
    """OCPP 1.6 §4.9: errors are not coalesced; the last word is what the connector is."""
    bench = Bench()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(1)
    for _ in range(2):
        said = len(bench.audit.statuses[1])
        bench.feed(e.MeterFailureChanged(1, "no answer"))
        assert told(bench, since=said) == [("Faulted", "PowerMeterFailure"), ("Faulted", "GroundFailure")]
        said = len(bench.audit.statuses[1])
        bench.feed(e.MeterFailureChanged(1, ""))
        assert told(bench, since=said) == []
    bench.plants[1].faults = ()
    bench.advance(1)
    assert told(bench)[-1] == ("Available", "NoError")


def test_a_fault_carries_the_controllers_own_code_and_words() -> None:
    """hardware.md §3.4; field report 6 of operators."""
    bench = Bench()
    bench.plants[1].faults = (SWITCH_FAULT,)
    bench.advance(1)
    said = bench.audit.statuses[1][-1]
    assert (said.vendor_error_code, said.info) == ("openevse:08", "stuck relay")


def test_a_warning_leaves_the_status_and_the_energy_alone() -> None:
    """OCPP 1.6 §4.9: "when the 'status' field is not Faulted, the condition should be considered a warning"."""
    bench = charging()
    bench.plants[1].warnings = (HOT,)
    bench.advance(3)
    assert told(bench)[-1] == ("Charging", "HighTemperature")
    assert bench.commanded_off == 0
    bench.plants[1].warnings = ()
    bench.advance(1)
    assert told(bench)[-1] == ("Charging", "NoError")


def test_the_emergency_stop_and_a_dead_reader_are_both_told_of_the_charge_point() -> None:
    """OCPP 1.6 §4.9, connector 0."""
    bench = Bench()
    bench.feed(e.EmergencyStopChanged(True))
    bench.feed(e.ReaderFailureChanged("no answer"))
    bench.feed(e.EmergencyStopChanged(False))
    assert told(bench, 0) == [
        ("Available", "NoError"),
        ("Faulted", "OtherError"),
        ("Faulted", "ReaderFailure"),
        ("Faulted", "OtherError"),
        ("Available", "ReaderFailure"),
    ]


@pytest.mark.parametrize(
    ("info", "shown"),
    [
        ("residual current tripped", "residual current tripped"),
        ("port /dev/ttyUSB0 is not there; plug the device in again", "port /dev/ttyUSB0 is not there"),
        ("port /dev/serial/by-id/usb-FTDI_A9 is not there; plug it in", "port /dev/serial/by-id/usb-FTDI_A9 is not there"),
        ("port /dev/serial/by-path/platform-3f98:1.2:1.0 is not there; or", "port platform-3f98:1.2:1.0 is not there"),
        ("controller at /dev/ttyUSB0 sends nothing but noises without end", "controller at ttyUSB0 sends nothing but noises…"),
    ],
)
def test_info_is_shortened_at_what_says_least(info: str, shown: str) -> None:
    """OCPP 1.6 §6.47 CiString50: half a sentence would say something else."""
    assert shortened(info) == shown
