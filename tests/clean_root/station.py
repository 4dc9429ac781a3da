"""The installed station, run as systemd would run it, and people at its virtual hardware.

Owns: the command of the unit, a whole session, its end. Does not: judge more than that a session is right.
"""

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

from services.demo.central_system import CentralSystem
from tests.clean_root.system import Root
from tests.harness import wait_until

USER = "chargebus"
PORT = 9000
TAG = "04A1B2C3D4"
_WAIT_S = 40.0
_UNIT = "/etc/systemd/system/chargebus.service"


def unit_command(root: Root) -> list[str]:
    """ExecStart, read by the way of the links that systemd goes."""
    (line,) = re.findall(r"(?m)^ExecStart=(.+)$", root.run("cat", _UNIT))
    return str(line).split()


@contextlib.contextmanager
def running(root: Root) -> Iterator[subprocess.Popen[bytes]]:
    """The station as the unit starts it, but on virtual hardware; it must end in good order, and leave nobody behind."""
    command = root.command(*unit_command(root), "--virtual", user=USER)
    with open(root.path / "tmp" / "station-run.txt", "ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        station(root, "sim", "ready", "--timeout", str(_WAIT_S))
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    wait_until(lambda: not processes(root), _WAIT_S, "every process of the station has ended")


def station(root: Root, *words: str, code: int | None = 0) -> str:
    """The `station` command as root types it on the board."""
    return root.run("station", *words, code=code)


def processes(root: Root) -> dict[str, int]:
    """Command lines of processes that run the installed software, with the user of each."""
    found = {}
    for path in (root.path / "proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if "/opt/chargebus/" in command and not command.startswith(("chroot", "setpriv", "env")):
                found[f"{path.name} {command}"] = path.stat().st_uid
    return found


def session(root: Root, central_system: CentralSystem) -> None:
    """A car comes, charges and goes; the Central System has exactly what the virtual meter has counted."""
    before = len(central_system.book.transactions())
    start_wh = charge(root)
    energy_wh = shown_wh(root) - start_wh
    _until(central_system, lambda book: len(book.transactions()) > before and book.transactions()[-1].stop, "it has the stop")
    transaction = central_system.book.transactions()[-1]
    assert transaction.energy_wh == energy_wh, (
        f"the meter counted {energy_wh} Wh, the Central System has {transaction.energy_wh}"
    )


def charge(root: Root) -> int:
    """A session from plug to plug, whether or not anybody hears of it; what the meter showed before."""
    start_wh = shown_wh(root)
    station(root, "sim", "plug-in", "1")
    _status(root, "Preparing")
    station(root, "sim", "swipe", TAG)
    _status(root, "Charging")
    # Long enough for the card to count as taken away.
    wait_until(lambda: shown_wh(root) > start_wh + 8, _WAIT_S, "the meter counts")
    station(root, "sim", "swipe", TAG)
    wait_until(lambda: not facts(root)["relay"]["closed"], _WAIT_S, "the contactor opens")
    station(root, "sim", "plug-out", "1")
    _status(root, "Available")
    return start_wh


def shown_wh(root: Root) -> int:
    """What the virtual meter shows."""
    return int(facts(root)["meter"]["shown_wh"])


def facts(root: Root) -> dict[str, Any]:
    """What car, controller and meter of connector 1 really are."""
    return dict(json.loads(station(root, "sim", "state"))["connectors"]["1"])


def _status(root: Root, status: str) -> None:
    def shown() -> bool:
        # 1 is an answer too: not all is well, as without a Central System.
        report = json.loads(station(root, "status", "--json", code=None))
        return bool(report["connectors"].get("1", {}).get("status") == status)

    wait_until(shown, _WAIT_S, f"connector 1 is {status}")


def _until(central_system: CentralSystem, condition: Any, what: str) -> None:
    central_system.book.wait_for(condition, _WAIT_S, what)
