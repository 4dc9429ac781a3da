"""The meter service: one core a meter, readings on the bus, and calls for a fresh one.

Owns: who waits for which reading. Does not: judge readings (`quality.py`), open ports or threads; they are handed in.
"""

from typing import Protocol

import msgspec

from bus.calls import IncomingCall
from bus.logs import Logger
from bus.messages import MeterSample, MeterState, ReadMeter
from bus.node import Node
from services.hardware.contract import MeterDesired, RawReading
from services.meter import quality

WAITING_MAX = 100


class Meters(Protocol):
    """The meters' threads, as far as the service commands them."""

    def set_desired(self, connector_id: int, desired: MeterDesired) -> None:
        """Read now, if what was read is older than that."""


class _Wanted(msgspec.Struct):
    call: IncomingCall
    not_before_s: float


class MeterService:
    """Feeds readings to the cores and answers who asks."""

    def __init__(self, node: Node, meters: Meters, log: Logger, power_w_max: dict[int, float]) -> None:
        self._node = node
        self._meters = meters
        self._log = log
        self._states = {
            connector_id: quality.initial(quality.Limits(watts), node.now()) for connector_id, watts in power_w_max.items()
        }
        self._replacements = dict.fromkeys(power_w_max, 0)
        self._wanted: dict[int, list[_Wanted]] = {connector_id: [] for connector_id in power_w_max}
        node.serve(ReadMeter, self._read_asked)
        for connector_id in power_w_max:
            node.publish(MeterState(connector_id), str(connector_id))

    def feed(self, connector_id: int, event: quality.Event) -> None:
        """One event of one meter, and all its effects."""
        self._states[connector_id], effects = quality.step(self._states[connector_id], event, self._node.now())
        for effect in effects:
            match effect:
                case quality.Trusted(raw=reading, replaced=replaced):
                    if replaced:
                        self._replacements[connector_id] += 1
                        self._log.warning("meter replaced, its readings are believed again", **self._of(connector_id, reading))
                    self._publish(connector_id, reading)
                case quality.Distrusted(reason=reason):
                    self._log.warning("meter reading not believed, it is read again", connector=connector_id, reason=reason)
                case quality.ReadAgain():
                    self._meters.set_desired(connector_id, MeterDesired(self._node.now()))
                case quality.FailureRaised(reason=reason):
                    self._log.error("meter can't be trusted", connector=connector_id, reason=reason)
                    self._node.publish(MeterState(connector_id, reason), str(connector_id))
                case quality.FailureCleared():
                    self._log.info("meter can be trusted again", connector=connector_id)
                    self._node.publish(MeterState(connector_id), str(connector_id))

    def tick(self) -> None:
        """Do what time demands."""
        now_s = self._node.now()
        for connector_id, state in self._states.items():
            due_s = quality.next_deadline(state)
            if due_s is not None and due_s <= now_s:
                self.feed(connector_id, quality.Tick())
            self._wanted[connector_id] = [w for w in self._wanted[connector_id] if not w.call.expired(now_s)]

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        return min((d for d in map(quality.next_deadline, self._states.values()) if d is not None), default=None)

    def _read_asked(self, request: ReadMeter, call: IncomingCall) -> None:
        state = self._states.get(request.connector_id)
        if state is None:
            call.refuse(f"connector {request.connector_id} has no meter")
        elif state.trusted is not None and state.trusted.read_boottime_s >= request.not_before_boottime_s:
            call.answer(self._sample(request.connector_id, state.trusted))
        elif len(self._wanted[request.connector_id]) >= WAITING_MAX:
            call.refuse("too many wait for a reading already")
        else:
            self._wanted[request.connector_id].append(_Wanted(call, request.not_before_boottime_s))
            self._meters.set_desired(request.connector_id, MeterDesired(request.not_before_boottime_s))

    def _publish(self, connector_id: int, reading: RawReading) -> None:
        sample = self._sample(connector_id, reading)
        self._node.publish(sample, str(connector_id))
        waiting, self._wanted[connector_id] = self._wanted[connector_id], []
        for wanted in waiting:
            if reading.read_boottime_s >= wanted.not_before_s:
                wanted.call.answer(sample)
            else:
                self._wanted[connector_id].append(wanted)

    def _of(self, connector_id: int, reading: RawReading) -> dict[str, object]:
        return {"connector": connector_id, "serial": reading.serial, "register_wh": reading.energy_import_wh}

    def _sample(self, connector_id: int, reading: RawReading) -> MeterSample:
        return MeterSample(
            connector_id=connector_id,
            read_boottime_s=reading.read_boottime_s,
            serial=reading.serial,
            energy_import_wh=reading.energy_import_wh,
            energy_export_wh=reading.energy_export_wh,
            power_w=reading.power_w,
            voltages_v=reading.voltages_v,
            currents_a=reading.currents_a,
            powers_w=reading.powers_w,
            frequency_hz=reading.frequency_hz,
            power_factor=reading.power_factor,
            replacements=self._replacements[connector_id],
        )
