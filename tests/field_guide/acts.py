"""How each symptom of the field guide comes about on a virtual station, and what its remedies by hand are there.

Owns: one `Act` for each symptom, by the anchor of its heading. Does not: know what the guide shows or run its commands
(`replay.py`).
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from services.ocpp_link.adjtime import system_clock_synchronised
from tests.acceptance.rig import OTHER_TAG, TAG, CentralSystem, Rig
from tests.acceptance.test_lost_and_offline import power_cut
from tests.harness import Station, wait_until
from tests.real_disk import __main__ as real_disk

_AWAY_S = 2.0
_PASSWORD, _WRONG_PASSWORD = "the-password-of-CP-1", "the-password-of-CP-2"


class CannotBeActed(Exception):
    """This machine does not let us bring the symptom about; the text says why."""


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
    `before`: what the Central System is before the station starts; `boots`: whether it accepts the station then.
    """

    happens: Deed
    by_hand: Mapping[str, Deed] = {}
    devices: Mapping[str, Any] = {}
    central: str = ""
    more: str = ""
    before: Callable[[CentralSystem], object] = lambda _: None
    place: Callable[[], contextlib.AbstractContextManager[Path | None]] = anywhere
    boots: bool = True


def present_again(one: Scene, tag: str) -> None:
    """A card counts as presented again once it was away for 1.6 s."""
    wait_until(lambda: not one.station.sim("state")["reader"]["card_present"], 10, "the card is taken away")
    away_s = time.monotonic()
    wait_until(lambda: time.monotonic() > away_s + _AWAY_S, 10, "it was away for long enough")
    one.station.sim("swipe", tag)


def _does_not_start(one: Scene) -> None:
    assert one.station.stop() == []
    _edit(one, "max_current_a = 63", "max_curent_a = 63")
    process = subprocess.Popen(
        one.station.run_command(), env=one.station.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.wait(30) != 0


def _edit(one: Scene, old: str, new: str) -> None:
    text = one.station.config_path.read_text(encoding="utf-8")
    assert old in text
    one.station.config_path.write_text(text.replace(old, new), encoding="utf-8")


def _car_does_not_charge(one: Scene) -> None:
    one.start_by_card()
    one.station.sim("ev-pause", "1")


def _card_refused(one: Scene) -> None:
    one.central_system.behaviour.set_id_tag(TAG, "Blocked")
    one.station.sim("plug-in", "1")
    one.wait_for_status(1, "Preparing")
    one.station.sim("swipe", TAG)


def _card_unblocked(one: Scene) -> None:
    one.central_system.behaviour.set_id_tag(TAG, "Accepted")
    present_again(one, TAG)


def _finishing(one: Scene) -> None:
    one.start_by_card()
    one.stop_by_card()


def _lock_jams(one: Scene) -> None:
    one.start_by_card()
    one.station.sim("fault", "1", "lock")
    one.station.sim("swipe", TAG)


def _lock_freed(one: Scene) -> None:
    one.station.sim("clear-fault", "1", "lock")
    present_again(one, TAG)


def _reserved(one: Scene) -> None:
    reservation = {"connectorId": 1, "expiryDate": "2099-12-30T00:00:00Z", "idTag": OTHER_TAG, "reservationId": 7}
    assert one.central_system.call("ReserveNow", reservation) == {"status": "Accepted"}
    one.station.sim("swipe", TAG)


def _meter_silent(one: Scene) -> None:
    one.station.sim("unplug-device", "meter", "1")
    wait_until(lambda: one.station.status()["connectors"]["1"]["error_code"] == "PowerMeterFailure", 20, "it is told")
    one.station.sim("plug-in", "1")
    one.wait_for_status(1, "Preparing")
    one.station.sim("swipe", TAG)


def _fault_while_charging(kind: str) -> Deed:
    def happens(one: Scene) -> None:
        one.start_by_card()
        one.station.sim("fault", "1", kind)

    return happens


def _emergency_stop(one: Scene) -> None:
    one.start_by_card()
    one.station.sim("estop", "on")


def _emergency_stop_released(one: Scene) -> None:
    one.station.sim("estop", "off")
    one.station.sim("plug-out", "1")


def _power_cut(one: Scene) -> None:
    one.start_by_card()
    power_cut(one)
    one.station.start()
    one.words["TRANSACTION"] = str(one.finished()[0].transaction_id)


def _wants_password(central_system: CentralSystem) -> None:
    central_system.behaviour.passwords = {"CP-1": _PASSWORD}


def _away_and_no_time(central_system: CentralSystem) -> None:
    if system_clock_synchronised():
        raise CannotBeActed("the clock of this machine is kept right, so that the station believes it")
    central_system.stop()


def _swap_cables(one: Scene) -> None:
    """What a person plugs in the other way round, with the services that have the ports open started anew."""
    evse, meter = (one.station.state_dir / "dev" / name for name in ("evse-1", "meter-1"))
    ends = os.readlink(evse), os.readlink(meter)
    for port, end in ((evse, ends[1]), (meter, ends[0])):
        port.unlink()
        port.symlink_to(end)
    for service in ("connectors", "meter"):
        one.station.kill(service)


def _given_up(one: Scene) -> None:
    one.central_system.behaviour.call_error("StopTransaction", times=3, code="InternalError", description="database error")
    one.start_by_card()
    one.station.sim("swipe", TAG)
    wait_until(lambda: one.station.status()["queue"]["dead_letters"], 30, "the message is given up")
    (line,) = [line for line in one.station.command("queue").stdout.splitlines() if "connector 1" in line]
    one.words["TRANSACTION"] = line.split()[0]


def _rfid_hangs(one: Scene) -> None:
    one.station.kill("rfid", signal.SIGSTOP)


def _rfid_falls(one: Scene) -> None:
    for _ in range(3):
        pid = one.station.kill("rfid")
        wait_until(lambda fallen=pid: one.station.processes().get("rfid", fallen) != fallen, 20, "rfid is started again")  # type: ignore[misc]


def _damaged(one: Scene) -> None:
    with open(one.station.state_dir / "transactions.db", "r+b") as file:
        file.write(b"\xa5" * 5000)
    (one.station.state_dir / "transactions.db-wal").unlink(missing_ok=True)
    one.station.kill("transaction_queue")


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A state directory on a real file system of its own, which only root may make."""
    if os.geteuid() != 0:
        raise CannotBeActed("a disk can be filled or broken by root alone")
    with real_disk.file_system() as disk:
        yield disk / "state"


def _disk_full(one: Scene) -> None:
    wait_until((one.station.state_dir / "ballast").exists, 30, "the station has settled")
    real_disk.fill(one.station.state_dir.parent)


def _disk_has_room(one: Scene) -> None:
    for path in one.station.state_dir.parent.glob("filler-*"):
        path.unlink()


def _disk_read_only(one: Scene) -> None:
    """With a session that the Central System does not have yet."""
    one.start_by_card()
    one.central_system.stop(abrupt=True)
    one.station.sim("swipe", TAG)
    wait_until(lambda: "transaction ends" in one.station.log("connectors"), 20, "the session ends")
    wait_until(lambda: one.station.status()["queue"]["depth"], 20, "its StopTransaction waits")
    # station.toml was written a moment ago: the disk has to have it.
    os.sync()
    subprocess.run(["mount", "-o", "remount,abort", str(one.station.state_dir.parent)], check=True)


def _disk_checked(one: Scene) -> None:
    one.station.stop()
    disk = one.station.state_dir.parent
    image = disk.parent / "image"
    subprocess.run(["umount", str(disk)], check=True)
    subprocess.run(["e2fsck", "-fy", str(image)], check=False, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True)
    one.central_system.start()


ACTS: dict[str, Act] = {
    "the-station-does-not-start": Act(
        happens=_does_not_start,
        by_hand={
            "sudoedit /etc/chargebus/station.toml": lambda one: _edit(one, "max_curent_a", "max_current_a"),
            "sudo systemctl start chargebus": lambda one: one.station.start(),
        },
    ),
    "the-car-does-not-charge": Act(
        happens=_car_does_not_charge, by_hand={"the driver lets the car charge": sim("ev-resume", "1")}
    ),
    "the-card-is-refused": Act(
        happens=_card_refused, by_hand={"the operator unblocks the card, the driver presents it again": _card_unblocked}
    ),
    "stuck-in-finishing": Act(happens=_finishing, by_hand={"take the plug out": sim("plug-out", "1")}),
    "the-plug-stays-locked": Act(
        happens=_lock_jams,
        by_hand={
            "push the plug in, so that the lock is free, and present the card again": _lock_freed,
            "take the plug out": sim("plug-out", "1"),
        },
        devices={"cable": "socket"},
    ),
    "a-connector-is-unavailable": Act(happens=lambda one: one.station.command("out-of-service", "on", "1")),
    "a-connector-is-reserved": Act(
        happens=_reserved,
        by_hand={
            "the operator cancels the reservation": lambda one: one.central_system.call(
                "CancelReservation", {"reservationId": 7}
            )
        },
    ),
    "faulted": Act(
        happens=_fault_while_charging("gfci"), by_hand={"the cause is found and removed": sim("clear-fault", "1", "gfci")}
    ),
    "emergency-stop": Act(
        happens=_emergency_stop, by_hand={"release the emergency stop, and plug the car out": _emergency_stop_released}
    ),
    "the-contactor-is-welded": Act(
        happens=_fault_while_charging("stuck-relay"),
        by_hand={"supply off, the contactor is replaced, supply on": sim("clear-fault", "1", "stuck-relay")},
    ),
    "a-session-ended-by-itself": Act(happens=_power_cut),
    "no-connection-to-the-central-system": Act(
        happens=lambda one: one.central_system.stop(abrupt=True),
        by_hand={"the network, or the Central System, is repaired": lambda one: one.central_system.start()},
    ),
    "wrong-password": Act(
        happens=lambda _: None,
        by_hand={"sudoedit /etc/chargebus/station.toml": lambda one: _edit(one, _WRONG_PASSWORD, _PASSWORD)},
        central=f'security_profile = 1\nauthorization_key = "{_WRONG_PASSWORD}"\n',
        before=_wants_password,
        boots=False,
    ),
    "the-clock-is-wrong": Act(
        happens=lambda _: None,
        by_hand={"the network, or the Central System, is repaired": lambda one: one.central_system.start()},
        before=_away_and_no_time,
        boots=False,
    ),
    "the-meter-is-silent": Act(
        happens=_meter_silent,
        by_hand={"plug the meter's cable in again": sim("replug-device", "meter", "1")},
    ),
    "the-reader-is-silent": Act(
        happens=sim("unplug-device", "reader"), by_hand={"plug the reader's cable in again": sim("replug-device", "reader")}
    ),
    "the-controller-is-silent": Act(
        happens=sim("unplug-device", "evse", "1"),
        by_hand={"plug the controller's cable in again": sim("replug-device", "evse", "1")},
    ),
    "cables-are-swapped": Act(happens=_swap_cables, by_hand={"plug each cable where it belongs": _swap_cables}),
    "transactions-are-not-delivered": Act(
        happens=_given_up,
        by_hand={"the operator mends the Central System": lambda one: one.central_system.behaviour.clear()},
        more="TransactionMessageRetryInterval = 1\n",
    ),
    "a-service-hangs": Act(happens=_rfid_hangs),
    "a-service-ends-again-and-again": Act(happens=_rfid_falls, by_hand={"the cause is found and removed": lambda _: None}),
    "a-damaged-database": Act(happens=_damaged),
    "the-disk-is-full": Act(
        happens=_disk_full,
        by_hand={"make room on the disk": _disk_has_room},
        more="\n[system]\ndisk_reserve_mb = 16\n",
        place=small_disk,
    ),
    "the-disk-is-read-only": Act(
        happens=_disk_read_only,
        by_hand={
            "the disk is checked, and can be written again": _disk_checked,
            "sudo systemctl restart chargebus": lambda one: one.station.start(),
        },
        more="\n[system]\ndisk_reserve_mb = 16\n",
        place=small_disk,
    ),
}
