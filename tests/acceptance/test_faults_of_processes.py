"""Services are restarted and killed while a car charges (acceptance 2), and start in any order (acceptance 4)."""

import os
import signal

import pytest

from services.station.programs import programs
from tests.acceptance.rig import CentralSystem, Rig, config_text, rig
from tests.harness import CommandFailed, Station, wait_until

pytestmark = pytest.mark.process

SERVICES = tuple(program.name for program in programs(virtual=False))


def _is_well(one: Rig) -> bool:
    services = one.station.status()["services"]
    found = services.values() if isinstance(services, dict) else services
    return all(service.get("problems") in ([], None) for service in found)


def test_restarting_and_killing_each_service_leaves_one_transaction_and_a_closed_contactor() -> None:
    """Design §2: a maintainer restarts one service at a time on a live station; kill -9 is no different."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        for service in SERVICES:
            one.station.restart(service)
            assert one.relay() == (True, 0), f"the contactor opened because {service} was restarted"
        for service in SERVICES:
            pid = one.station.kill(service, signal.SIGKILL)
            wait_until(lambda s=service, p=pid: one.station.processes().get(s, p) != p, 10, f"{service} runs again")
            assert one.relay() == (True, 0), f"the contactor opened because {service} was killed"
        one.station.sim("ready", "--timeout", "15")
        one.wait_for_energy(1, one.register_wh() + 10)
        assert one.relay() == (True, 0)
        one.stop_by_card()
        one.check_one_transaction(before_wh)
        boots = one.central_system.book.calls("BootNotification")
        assert len(boots) == 1, "a restart of the link alone is no boot"


def test_a_dead_service_is_not_ready_however_well_it_was() -> None:
    """The broker keeps its last word; a card that is presented now would be nobody's."""
    with rig() as one:
        supervisord = one.station.pid("supervisord")
        os.kill(supervisord, signal.SIGSTOP)
        try:
            one.station.kill("connectors")
            wait_until(lambda: "connectors" not in one.station.processes(), 5, "connectors is dead")
            with pytest.raises(CommandFailed, match=r"nothing heard of connectors$"):
                one.station.sim("ready", "--timeout", "1")
        finally:
            os.kill(supervisord, signal.SIGCONT)
        one.station.sim("ready", "--timeout", "15")


def test_killing_supervisord_leaves_no_survivor_and_the_next_run_starts_clean() -> None:
    """Acceptance 2: no service survives it; the next run is another power-up of the virtual board, which closes what ran."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.station.kill_supervisord()
        wait_until(lambda: not one.station.processes(), 5, "no service survives supervisord")
        one.station.start()
        transaction = one.check_one_transaction(before_wh)
        assert transaction.reason == "PowerLoss"
        assert len(one.central_system.book.calls("BootNotification")) == 2
        one.wait_for_status(1, "Available")
        one.start_by_card()
        one.stop_by_card()
        assert len(one.finished(2)) == 2


def test_a_station_that_is_told_to_end_says_reboot() -> None:
    """OCPP 1.6 §7.36 Reboot: locally initiated; the next run is another power-up of the virtual board."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        assert one.station.stop() == []
        one.station.start()
        assert one.check_one_transaction(before_wh).reason == "Reboot"


@pytest.mark.parametrize("last", SERVICES)
def test_start_order_does_not_matter(last: str) -> None:
    """Acceptance 4: each service started last, and until then the others do without it."""
    with CentralSystem() as central_system, Station(config_text(central_system.url), ready_timeout_s=None) as station:
        wait_until(lambda: last in station.processes(), 10, f"{last} runs")
        pid = station.kill(last, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        station.sim("ready", "--timeout", "20")
        one = Rig(station, central_system, "CP-1")
        one.wait_for_boot()
        before_wh = one.register_wh()
        one.start_by_card()
        one.stop_by_card()
        one.check_one_transaction(before_wh)
