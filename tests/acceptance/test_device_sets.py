"""A whole charging session on each set of devices that is sold (issue 6, acceptance 3)."""

import signal

import pytest

from tests.acceptance.rig import TAG, Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process

ON_ONE_LINE = """
[[connector]]
id = 1
cable = "fixed"
evse = { driver = "evsewb", shared = true }
meter = { driver = "sdm120", baud = 9600, unit = 2, shared = true }
"""
METER_IN_CONTROLLER = """
[[connector]]
id = 1
cable = "socket"
evse = { driver = "openevse" }
meter = { driver = "evse" }
"""
UID = "04A1B2C3D4E5F6"
"""Seven bytes, as an ISO 14443 card has them."""
LINE_READER = 'line"\npayload = "hex'
"""More than a word, as the rig has one line for the reader's driver."""


def session(one: Rig, tag: str = TAG) -> None:
    """Plug, card, charge, a pause of the car, both services that touch devices killed, card, unplug: one transaction."""
    one.start_by_card(tag=tag)
    one.station.sim("ev-pause", "1")
    one.wait_for_status(1, "SuspendedEV")
    one.station.sim("ev-resume", "1")
    one.wait_for_status(1, "Charging")
    opened = one.relay()[1]
    for service in ("connectors", "meter"):
        pid = one.station.kill(service, signal.SIGKILL)
        wait_until(lambda s=service, p=pid: one.station.processes().get(s, p) != p, 10, f"{service} runs again")
    one.station.sim("ready", "--timeout", "15")
    one.wait_for_energy(1, one.register_wh() + 3)
    assert one.relay() == (True, opened), "a restart of a service opens no contactor"
    one.stop_by_card(tag=tag)
    one.station.sim("plug-out", "1")
    one.wait_for_status(1, "Available")
    assert one.relay()[0] is False


def test_openevse_with_sdm630_and_pn532() -> None:
    with rig(reader="pn532") as one:
        before_wh = one.register_wh()
        session(one, UID)
        assert one.check_one_transaction(before_wh).id_tag == UID


def test_evse_wb_and_sdm120_on_one_line_with_rdm6300() -> None:
    """Two processes on one RS-485 line: neither loses its device, although both were killed."""
    with rig(connectors=ON_ONE_LINE) as one:
        before_wh = one.register_wh()
        session(one)
        assert one.check_one_transaction(before_wh).reason == "Local"
        for service in ("connectors", "meter"):
            assert "device lost" not in one.station.log(service)


def test_openevse_with_its_own_meter_and_a_line_reader() -> None:
    """The register of the controller is what is billed: to the watt-hour, but for where each begins to count."""
    with rig(connectors=METER_IN_CONTROLLER, reader=LINE_READER) as one:
        before_wh = one.register_wh()
        session(one)
        (transaction,) = one.finished()
        assert transaction.meter_start_wh == 0
        assert transaction.energy_wh == pytest.approx(one.register_wh() - before_wh, abs=2)
        assert one.central_system.book.violations() == []
