"""How each symptom of the field guide comes about on a virtual station, and what its remedies by hand are there.

Owns: one `Act` for each symptom, by the anchor of its heading. Does not: know what the guide shows or run its commands
(`replay.py`).
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.acceptance.rig import TAG, CentralSystem, Rig
from tests.harness import Station, wait_until

_AWAY_S = 2.0


class Scene(Rig):
    """A station with its symptom. `words`: what stands for the guide's placeholders."""

    def __init__(self, station: Station, central_system: CentralSystem, identity: str) -> None:
        super().__init__(station, central_system, identity)
        self.words: dict[str, str] = {}


Deed = Callable[[Scene], object]


def sim(*words: str) -> Deed:
    """What a person does at the hardware, as a deed."""
    return lambda one: one.station.sim(*words)


@contextlib.contextmanager
def anywhere() -> Iterator[Path | None]:
    """A temporary state directory like any other."""
    yield None


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One symptom.

    `happens` brings it about, `by_hand` does what the guide tells in words or by commands that are not `station`'s.
    `devices`, `central` and `more`: of station.toml, the latter two as lines of `[central_system]` and `[ocpp]`.
    `before`: what the Central System is before the station starts. `ends_well`: status says "well" after the remedy.
    """

    happens: Deed
    by_hand: Mapping[str, Deed] = {}
    devices: Mapping[str, Any] = {}
    central: str = ""
    more: str = ""
    before: Callable[[CentralSystem], object] = lambda _: None
    place: Callable[[], contextlib.AbstractContextManager[Path | None]] = anywhere
    ends_well: bool = True


def present_again(one: Scene, tag: str) -> None:
    """A card counts as presented again once it was away for 1.6 s."""
    wait_until(lambda: not one.station.sim("state")["reader"]["card_present"], 10, "the card is taken away")
    away_s = time.monotonic()
    wait_until(lambda: time.monotonic() > away_s + _AWAY_S, 10, "it was away for long enough")
    one.station.sim("swipe", tag)


def _car_does_not_charge(one: Scene) -> None:
    one.wait_for_boot()
    one.start_by_card()
    one.station.sim("ev-pause", "1")
    one.wait_for_status(1, "SuspendedEV")


def _card_refused(one: Scene) -> None:
    one.wait_for_boot()
    one.central_system.behaviour.set_id_tag(TAG, "Blocked")
    one.station.sim("plug-in", "1")
    one.wait_for_status(1, "Preparing")
    one.station.sim("swipe", TAG)


def _released(one: Scene) -> None:
    one.central_system.behaviour.set_id_tag(TAG, "Accepted")
    present_again(one, TAG)


def _no_connection(one: Scene) -> None:
    one.wait_for_boot()
    one.central_system.stop(abrupt=True)


def _meter_silent(one: Scene) -> None:
    one.wait_for_boot()
    one.station.sim("unplug-device", "meter", "1")


def _emergency_stop(one: Scene) -> None:
    one.wait_for_boot()
    one.start_by_card()
    one.station.sim("estop", "on")


def _emergency_stop_released(one: Scene) -> None:
    one.station.sim("estop", "off")
    one.station.sim("plug-out", "1")


ACTS: dict[str, Act] = {
    "the-car-does-not-charge": Act(
        happens=_car_does_not_charge, by_hand={"the driver lets the car charge": sim("ev-resume", "1")}
    ),
    "the-card-is-refused": Act(
        happens=_card_refused,
        by_hand={"the operator unblocks the card, the driver presents it again": _released},
    ),
    "no-connection-to-the-central-system": Act(
        happens=_no_connection,
        by_hand={"the network, or the Central System, is repaired": lambda one: one.central_system.start()},
    ),
    "the-meter-is-silent": Act(
        happens=_meter_silent, by_hand={"plug the meter's cable in again": sim("replug-device", "meter", "1")}
    ),
    "emergency-stop": Act(
        happens=_emergency_stop, by_hand={"release the emergency stop, and plug the car out": _emergency_stop_released}
    ),
}
