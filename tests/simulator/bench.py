"""One virtual connector on a table, with a clock that is turned by hand and somebody at the serial line.

bench = Bench()
bench.ask("FS")          ->  "OK"
bench.run(1.5)
bench.ask("GS")          ->  "OK fe 0 01 0200"
"""

from services.simulator import rapi
from services.simulator.board import Board, Eeprom
from services.simulator.circuit import Register
from services.simulator.openevse import OpenEvse, Quirks
from services.simulator.rdm6300 import Reader
from services.simulator.settings import ConnectorSettings, ReaderSettings, Settings
from services.simulator.world import Connector, Event, World

START_S = 1000.0


def settings(*, phases: int = 3, meter: str = "sdm630", cable: str = "fixed") -> Settings:
    """An installation of 32 A with one connector and a reader."""
    connector = ConnectorSettings(id=1, cable=cable, evse="openevse", meter=meter, unit=1, phases=phases)
    return Settings(max_current_a=32, voltage_v=230.0, connectors=(connector,), reader=ReaderSettings("rdm6300"))


class Bench:
    """A world with connector 1. `said` is every line that came from the controller, checked and without checksum."""

    def __init__(
        self,
        *,
        quirks: Quirks | None = None,
        lock_build: bool = False,
        eeprom: Eeprom | None = None,
        cable: str = "fixed",
    ) -> None:
        installation = settings(cable=cable)
        self.connector = Connector(
            installation.connectors[0],
            installation,
            now_s=START_S,
            register=Register(wh=0.0, serial=1),
            eeprom=eeprom or Eeprom(current_a=32),
        )
        if quirks is not None or lock_build:
            board = Board(self.connector.board.eeprom, current_a_max=32, now_s=START_S, lock_build=lock_build)
            self.connector.controller = OpenEvse(board, quirks)
        self.world = World({1: self.connector}, Reader(), START_S)
        self.said: list[str] = []
        self.events: list[Event] = []
        self.raw = b""

    @property
    def board(self) -> Board:
        return self.connector.board

    def run(self, seconds: float) -> None:
        """Let time go by."""
        self.world.advance(self.world.now_s + seconds)
        self._collect()

    def send(self, data: bytes) -> list[str]:
        """Put bytes on the line; the lines that came back at once."""
        before = len(self.said)
        self.connector.controller.receive(data)
        self.world.settle(1)
        self._collect()
        return self.said[before:]

    def ask(self, command: str, sequence: str = "") -> str:
        """Send a command with its checksum; its reply without `$` and checksum, empty if there is none."""
        text = f"${command}" + (f" :{sequence}" if sequence else "")
        replies = [line for line in self.send(f"{text}^{rapi.checksum(text)}\r".encode()) if line[:2] in ("OK", "NK")]
        return replies[0] if replies else ""

    def boot(self) -> "Bench":
        """Wait for `$AB` and forget what was said until then."""
        self.run(1.0)
        self.said.clear()
        return self

    def charge(self) -> "Bench":
        """A car is plugged in and charges with what it can."""
        self.boot()
        self.world.plug_in(1)
        self.run(4.0)
        assert self.connector.contactor.closed
        self.said.clear()
        return self

    def _collect(self) -> None:
        self.events += self.world.take_events()
        output = self.connector.controller.take_output()
        self.raw += output
        for line in output.split(b"\r")[:-1]:
            text, _, check = line.decode("latin-1").rpartition("^")
            if rapi.checksum(text) == check:
                self.said.append(text.removeprefix("$"))
