"""The connectors process: `python -m services.connectors`.

Owns: `connectors.db`, the charging controllers' threads and the one that withdraws while the disk is slow, the emergency stop
input. Does not: decide (`core.py`).
Topics: publishes connector.status., connector.card., connector.reading., connector.reset., journal.transaction.,
position.delivery.; answers call.connectors.…; reads link., clock., configuration., meter.…, rfid.…, journal.delivery.
Its end leaves each controller's output as it is: the watchdog's guard decides about orphans (design §2).
"""

import os

import msgspec

from bus.clock import boottime_s, hardware_boot_id
from bus.device_messages import ControllerReading
from bus.disk import LOOK_S, MB, Disk, trouble
from bus.process import orphaned
from bus.runtime import Runtime, run
from services.configuration.at_start import load_for
from services.configuration.model import StationConfig
from services.configuration.store import read_configuration
from services.connectors import events as e
from services.connectors import unplugged
from services.connectors.drivers import evse_driver
from services.connectors.drivers.emergency_stop import Contact, EmergencyStop, FileContact, GpioContact
from services.connectors.service import Board, ConnectorsService
from services.connectors.state import Connector
from services.connectors.store import SCHEMA
from services.connectors.withdrawals import Timer
from services.hardware.contract import EvseDesired, EvseObservation, RawReading
from services.hardware.fleet import Fleet


class ConnectorsProcess:
    """The service with its controllers: what the runtime feeds."""

    def __init__(self, runtime: Runtime, config: StationConfig) -> None:
        self._fleet: Fleet[EvseDesired] = Fleet(runtime, "evse")
        for connector in config.connectors:
            port = os.path.join(runtime.process.state_dir, connector.evse.port)
            evse = connector.evse
            self._fleet.add(connector.id, evse_driver(connector, port), name=evse.driver, port=evse.port, shared=evse.shared)
        self._inputs: Fleet[None] = Fleet(runtime, "estop")
        self._pressed: bool | None = None
        """None: it has not been read yet, and until then nothing begins."""
        contact = emergency_stop_contact(config, virtual=runtime.process.virtual)
        if contact is not None:
            chip = config.emergency_stop.chip if config.emergency_stop is not None else ""
            self._inputs.add(0, EmergencyStop(contact), name="input", port=chip, shared=True)
        self._disk = Disk("..")
        self._disk_failure = ""
        self._disk_due_s = 0.0
        self._system, self._policy = config.system, config.policy
        self._set_problem = runtime.set_problem
        board = Board(
            boot_id=hardware_boot_id(),
            node=runtime.node,
            database=runtime.open_store("../connectors.db", SCHEMA),
            log=runtime.log,
            output=self._fleet,
        )
        board.emergency_stop_fitted = contact is not None
        board.set_problem = runtime.set_problem
        board.make_room = self._disk.release_ballast
        board.seen_unplugged = lambda: unplugged.read(unplugged.FILE, board.boot_id, runtime.log)
        if config.logs.full_id_tags:
            board.show_id_tag = str
        self._service = ConnectorsService(
            board,
            tuple(Connector(each.id, config.current_a_max(each), socket=not each.fixed_cable) for each in config.connectors),
            supply_current_a=config.supply.max_current_a,
            charge_before_first_acceptance=config.policy.charge_before_first_acceptance,
            configuration=read_configuration("../configuration.db", config),
        )
        service = self._service
        self._node = runtime.node
        self._meters = frozenset(connector.id for connector in config.connectors if connector.meter_in_evse)

        def observed(number: int, seen: EvseObservation) -> None:
            self._tell_reading(number, seen.reading)
            service.feed(e.EvseObserved(number, msgspec.structs.replace(seen, reading=None)))

        def down(number: int, reason: str) -> None:
            if number in self._meters:
                self._node.publish(ControllerReading(number, failure=reason), str(number))
            service.feed(e.EvseFailed(number, reason))

        self._timer = Timer(service.withdrawals, boottime_s)
        self._timer.start()
        self._fleet.start(observed=observed, down=down)
        # Choice: an emergency stop that can't be read counts as pressed, since nobody could press it now.
        self._inputs.start(observed=lambda _, seen: self._stop_pressed(seen.active), down=lambda *_: self._stop_pressed(True))

    def _tell_reading(self, number: int, reading: RawReading | None) -> None:
        """Hand on what a controller has counted; whether to trust it is the meter service's to say."""
        if reading is not None and number in self._meters:
            told = ControllerReading(
                connector_id=number,
                read_boottime_s=reading.read_boottime_s,
                energy_import_wh=reading.energy_import_wh,
                power_w=reading.power_w or 0.0,
                voltage_v=sum(reading.voltages_v),
                current_a=sum(reading.currents_a),
            )
            self._node.publish(told, str(number))

    def tick(self) -> None:
        """Time passed."""
        now_s = boottime_s()
        if now_s >= self._disk_due_s:
            self._disk_due_s = now_s + LOOK_S
            self._look_at_disk()
        self._fleet.tick(now_s)
        self._inputs.tick(now_s)
        self._service.tick()

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        devices_s = min(self._fleet.next_deadline_s(), self._inputs.next_deadline_s())
        deadlines = [devices_s, self._service.next_deadline_s(), self._disk_due_s]
        return min(d for d in deadlines if d is not None)

    def _stop_pressed(self, pressed: bool) -> None:
        if pressed != self._pressed:
            self._pressed = pressed
            self._service.feed(e.EmergencyStopChanged(pressed))

    def _look_at_disk(self) -> None:
        """This service looks itself: what it can't write, nobody else may tell it."""
        failure = trouble(self._disk.look(), self._system.disk_reserve_mb * MB)
        self._set_problem("disk", failure or None)
        # The free space changes all the time; that there is too little is news once.
        if bool(failure) != bool(self._disk_failure):
            self._service.feed(e.DiskChanged(failure, bool(failure) and not self._policy.charge_on_full_disk))
        self._disk_failure = failure

    def close(self) -> None:
        """Stop the threads; the controllers keep their output."""
        if not orphaned():
            self._service.end()
        self._timer.stop()
        self._fleet.close()
        self._inputs.close()


def emergency_stop_contact(config: StationConfig, *, virtual: bool) -> Contact | None:
    """Where the emergency stop is looked for; None: this station has none."""
    if virtual:
        return FileContact("../hardware/estop")
    wired = config.emergency_stop
    if wired is None:
        return None
    return GpioContact(wired.chip, wired.line, pressed_level=wired.pressed_level, bias=wired.bias)


def build(runtime: Runtime) -> ConnectorsProcess:
    """The process as the runtime wants it."""
    return ConnectorsProcess(runtime, load_for(runtime))


if __name__ == "__main__":
    raise SystemExit(run("connectors", build))
