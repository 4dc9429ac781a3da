"""What the virtual hardware leaves on disk, in the directory `hardware` of a station.

    meter-N.json   register and serial number: a meter keeps them without power
    evse-N.json    the controller's EEPROM
    estop          0 or 1: the emergency stop's input
    ledger.jsonl   what truly happened, one JSON object a line; ledger.jsonl.1 is the older half

Owns: these files. Does not: decide when they are written. A disk that can't be written is logged once; virtual hardware
goes on. Choice: no fsync, since this must survive the end of a process, not of the machine that develops on it.
"""

import contextlib
import os
from typing import Any, TypeVar

import msgspec

from bus.clock import system_utc_s
from bus.logs import Logger, utc_text
from services.simulator.circuit import REGISTER_WH_MAX, SERIAL_MAX, Register
from services.simulator.world import SERIAL_FIRST, Event

LEDGER_BYTES_MAX = 5_000_000
_FILE_BYTES_MAX = 10_000
T = TypeVar("T")
E = TypeVar("E", bound=msgspec.Struct)


class Storage:
    """The directory. Raises OSError if it can't be made."""

    def __init__(self, directory: str, log: Logger) -> None:
        os.makedirs(directory, mode=0o750, exist_ok=True)
        self._directory = directory
        self._log = log
        self._written: dict[str, bytes] = {}
        self._failed: set[str] = set()
        self._ledger: int | None = None

    def register(self, connector_id: int) -> Register:
        """The meter of a connector as it was left, or a new one."""
        found = self._load(f"meter-{connector_id}.json", Register)
        if found is None or not (0 <= found.wh <= REGISTER_WH_MAX and 0 < found.serial <= SERIAL_MAX):
            return Register(wh=0.0, serial=SERIAL_FIRST + connector_id)
        return found

    def eeprom(self, connector_id: int, new: E) -> E:
        """The EEPROM of a controller of that kind as it was left, or `new`."""
        return self._load(f"evse-{connector_id}.json", type(new)) or new

    def save_register(self, connector_id: int, register: Register) -> None:
        """Keep it if it has changed. After this, and not before, a value may be shown."""
        self._save(f"meter-{connector_id}.json", msgspec.json.encode(register))

    def save_eeprom(self, connector_id: int, eeprom: msgspec.Struct) -> None:
        """Keep it if it has changed."""
        self._save(f"evse-{connector_id}.json", msgspec.json.encode(eeprom))

    def save_estop(self, pressed: bool) -> None:
        """Set the input."""
        self._save("estop", b"1" if pressed else b"0")

    def record(self, event: Event) -> None:
        """Append to the ledger."""
        line = msgspec.json.encode({**_fields(event), "utc": utc_text(system_utc_s())}) + b"\n"
        try:
            if self._ledger is None:
                self._ledger = os.open(self._path("ledger.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            os.write(self._ledger, line)
            if os.fstat(self._ledger).st_size >= LEDGER_BYTES_MAX:
                os.replace(self._path("ledger.jsonl"), self._path("ledger.jsonl.1"))
                self.close()
        except OSError as error:
            self._complain("ledger.jsonl", error)

    def close(self) -> None:
        """Close the ledger; it opens again when it is needed."""
        if self._ledger is not None:
            os.close(self._ledger)
            self._ledger = None

    def _load(self, name: str, kind: type[T]) -> T | None:
        try:
            with open(self._path(name), "rb") as file:
                return msgspec.json.decode(file.read(_FILE_BYTES_MAX), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            self._log.warning("unreadable file of the virtual hardware, a new device takes its place", file=name, reason=error)
            return None

    def _save(self, name: str, content: bytes) -> None:
        if self._written.get(name) == content:
            return
        path = self._path(name)
        try:
            with open(f"{path}.new", "wb") as file:
                file.write(content)
            os.replace(f"{path}.new", path)
            self._written[name] = content
        except OSError as error:
            self._complain(name, error)
            with contextlib.suppress(OSError):
                os.unlink(f"{path}.new")

    def _complain(self, name: str, error: OSError) -> None:
        if name not in self._failed:
            self._failed.add(name)
            self._log.error("the virtual hardware can't write its file, make room", file=name, reason=error.strerror)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def _fields(event: Event) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(event).items() if value is not None}
