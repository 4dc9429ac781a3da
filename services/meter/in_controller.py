"""Meters that are part of a charging controller: their readings come from the connectors service, over the bus (design §2).

Owns: turning what is told there into events of the meters' cores. Does not: judge readings (`quality.py`).
"""

from collections.abc import Callable, Collection

from bus.device_messages import ControllerReading
from bus.node import Node
from services.hardware.contract import RawReading
from services.meter import quality

Feed = Callable[[int, quality.Event], None]


class MetersInControllers:
    """The meters of these connectors. A reading counts once, however often the bus repeats it."""

    def __init__(self, node: Node, connector_ids: Collection[int], feed: Feed) -> None:
        self._connector_ids = frozenset(connector_ids)
        self._feed = feed
        self._newest_s: dict[int, float] = {}
        self._down: set[int] = set()
        if self._connector_ids:
            node.watch(ControllerReading, lambda _, told: self._told(told), self._unknown)

    def _told(self, told: ControllerReading) -> None:
        number = told.connector_id
        if number not in self._connector_ids:
            return
        if told.failure:
            self._lost(number, told.failure)
        elif told.read_boottime_s > self._newest_s.get(number, 0.0):
            self._newest_s[number] = told.read_boottime_s
            if number in self._down:
                self._down.discard(number)
                self._feed(number, quality.MeterUp())
            self._feed(number, quality.ReadingTaken(_raw(told)))

    def _unknown(self, key: str) -> None:
        if key.isdecimal() and int(key) in self._connector_ids:
            self._lost(int(key), "the connectors service, which reads the meter in the controller, is down")

    def _lost(self, number: int, reason: str) -> None:
        self._down.add(number)
        self._feed(number, quality.MeterDown(reason))


def _raw(told: ControllerReading) -> RawReading:
    return RawReading(
        read_boottime_s=told.read_boottime_s,
        serial="",
        energy_import_wh=told.energy_import_wh,
        power_w=told.power_w,
        voltages_v=(told.voltage_v,),
        currents_a=(told.current_a,),
        powers_w=(told.power_w,),
    )
