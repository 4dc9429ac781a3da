"""NXP PN532 on a serial line (HSU): asked again and again which card of ISO 14443A lies on it (hardware.md §5.2).

Owns: the conversation: wake-up, configuration, polling. Does not: frame (`pn532_frames.py`), or decide when a card counts as
presented. Each poll is answered whether or not a card is there, so that a dead reader is noticed by the next one.

It shows what becomes of a card by lamps at its own pins, one for each outcome, where station.toml names these pins (WriteGPIO
of the user manual UM0701-02). Choice: a lamp is lit by a low pin. After power-up the pins are high and hardly drive anything,
so that the lamps are dark until they are meant; pins of the same port that nobody has named stay high.
"""

from collections.abc import Callable, Mapping

from bus.card_messages import CardOutcome
from bus.clock import boottime_s
from services.configuration.model import Reader
from services.hardware.contract import Counters, DeviceInfo, NoAnswer, ReaderDesired, TokenSeen, WrongAnswer
from services.hardware.port import Port, open_port
from services.hardware.tally import Tally
from services.rfid.drivers import pn532_frames as frames

BAUD = 115200
POLL_PERIOD_S = 0.2
ACK_S = 0.1
"""The chip acknowledges a command within about 15 ms."""
REPLY_S = 0.4
WAKE_UPS_MAX = 3
REPEATS_MAX = 2
"""So often a reply with a wrong checksum is asked for again."""

GET_FIRMWARE_VERSION = 0x02
WRITE_GPIO = 0x0E
SAM_CONFIGURATION = 0x14
RF_CONFIGURATION = 0x32
IN_LIST_PASSIVE_TARGET = 0x4A
IN_RELEASE = 0x52
NORMAL_MODE = bytes((0x01, 0x14, 0x01))
"""Without a security module; as long as the chip is in its low-battery mode after power-up it answers nothing else."""
RETRIES = bytes((0x05, 0xFF, 0x01, 0x01))
"""MaxRetries: look for a card only briefly. As it leaves the factory the chip would look for ever and answer nothing."""
ONE_TYPE_A = bytes((0x01, 0x00))
_WRITTEN = 0x80
"""The rest of the byte counts: without this bit its port is left as it is."""
_PORTS = {"P3": 0x3F, "P7": 0x06}
"""All pins of both ports, high, in the order of WriteGPIO. The chip itself needs P32 and P34 to be so."""

Lamps = Mapping[CardOutcome, str]
"""The pin of each lamp: `P30`."""


def pins(reader: Reader) -> Lamps:
    """The lamps that station.toml tells of."""
    named = {
        CardOutcome.WAIT: reader.wait_pin,
        CardOutcome.ACCEPTED: reader.accepted_pin,
        CardOutcome.REFUSED: reader.refused_pin,
    }
    return {outcome: pin for outcome, pin in named.items() if pin}


def port_bytes(lamps: Lamps, outcome: CardOutcome | None) -> bytes:
    """Parameters of WriteGPIO that light the lamp of `outcome` alone. A port without a lamp is left as it is."""
    lit = lamps.get(outcome, "") if outcome is not None else ""
    found = []
    for port, high in _PORTS.items():
        low = 1 << int(lit[2:]) if lit.startswith(port) else 0
        has_lamp = any(pin.startswith(port) for pin in lamps.values())
        found.append(_WRITTEN | high & ~low if has_lamp else 0)
    return bytes(found)


class Pn532:
    """One reader on its port; only its runner's thread calls it (`services.hardware.contract.Driver`)."""

    name = "pn532"

    def __init__(self, path: str, *, lamps: Lamps | None = None, now: Callable[[], float] = boottime_s) -> None:
        self._lamps = lamps or {}
        self._shown: bytes | None = None
        """What the pins were set to; None: nobody knows how they are."""
        self.poll_period_s = POLL_PERIOD_S
        self._path = path
        self._now = now
        self._tally = Tally()
        self._port: Port | None = None
        self._parser = frames.Parser()
        self._waiting: list[frames.Frame] = []
        self._broken = 0
        """Broken frames in answer to the present command that were asked for again."""

    def open(self) -> DeviceInfo:
        """Wake the chip, find out which one it is, and have it look for cards only briefly. Raises DeviceError."""
        self.close()
        self._shown = None
        self._parser = frames.Parser()
        self._port = open_port(self._path, BAUD)
        self._wake_up()
        version = self._ask(GET_FIRMWARE_VERSION)
        if len(version) < 3:
            raise WrongAnswer(f"reader at {self._path} does not say who it is; check that it is a PN532 in HSU mode")
        self._ask(RF_CONFIGURATION, RETRIES)
        return DeviceInfo(vendor="NXP", model=f"PN5{version[0]:02X}", firmware=f"{version[1]}.{version[2]}")

    def fileno(self) -> int | None:
        """It never speaks unasked."""
        return None

    def exchange(self, desired: ReaderDesired | None) -> list[TokenSeen]:
        """Light the lamp that is wanted; the cards that lie on it now. Raises DeviceError."""
        self._light(desired)
        seen_s = self._now()
        found = frames.uids(self._ask(IN_LIST_PASSIVE_TARGET, ONE_TYPE_A))
        if found is None:
            self._tally.errors += 1
            raise WrongAnswer(f"reader at {self._path} tells of a card that can't be; hold the card still, or check the wiring")
        if found:
            # A card that stays selected would not be found a second time.
            self._ask(IN_RELEASE, b"\x00")
        return [TokenSeen(uid.hex().upper(), seen_s) for uid in found]

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def counters(self) -> Counters:
        """Commands and answers since the driver was made."""
        return self._tally.snapshot()

    def _light(self, desired: ReaderDesired | None) -> None:
        if desired is None or not self._lamps:
            return
        wanted = port_bytes(self._lamps, desired.outcome)
        if wanted != self._shown:
            self._ask(WRITE_GPIO, wanted)
            self._shown = wanted

    def _wake_up(self) -> None:
        for last in (False,) * (WAKE_UPS_MAX - 1) + (True,):
            self._write(frames.WAKE_UP)
            try:
                self._ask(SAM_CONFIGURATION, NORMAL_MODE)
                return
            except NoAnswer:
                if last:
                    raise NoAnswer(
                        f"no reader answers at {self._path}; check power, wiring, and that the PN532 is set to HSU"
                    ) from None

    def _ask(self, command: int, data: bytes = b"") -> bytes:
        """What the chip answers to a command. Raises DeviceError; then the chip is free for the next one."""
        self._forget_input()
        self._write(frames.command_frame(command, data))
        self._tally.transmissions += 1
        try:
            self._await_acknowledgement()
            answer = self._await_reply(command)
        except NoAnswer:
            self._tally.timeouts += 1
            # It ends a command that still runs, and is harmless otherwise.
            self._write(frames.ACK)
            raise
        self._tally.replies += 1
        return answer

    def _await_acknowledgement(self) -> None:
        if not isinstance(self._next_frame(self._now() + ACK_S), frames.Acknowledged):
            self._tally.errors += 1
            raise WrongAnswer(f"reader at {self._path} does not acknowledge commands; check that nothing else is on its line")

    def _await_reply(self, command: int) -> bytes:
        """The reply to `command`; late ones to earlier commands are passed over, a broken one is asked for again."""
        deadline_s = self._now() + REPLY_S
        for _ in range(REPEATS_MAX + 1):
            try:
                while True:
                    match self._next_frame(deadline_s):
                        case frames.Reply(command=answered, data=data) if answered == command + 1:
                            return data
                        case frames.Refused():
                            self._tally.errors += 1
                            raise WrongAnswer(f"reader at {self._path} refuses command {command:02X}; it may be no PN532")
            except NoAnswer:
                if self._parser.bad == self._broken:
                    raise
                self._tally.errors += self._parser.bad - self._broken
                self._broken, deadline_s = self._parser.bad, self._now() + REPLY_S
                self._write(frames.NACK)
        raise NoAnswer(f"reader at {self._path} sends broken frames; check its wiring and the length of its cable")

    def _next_frame(self, deadline_s: float) -> frames.Frame:
        """The next good frame. Raises NoAnswer at the deadline, and as soon as a broken one has come."""
        while not self._waiting:
            rest_s = deadline_s - self._now()
            if rest_s <= 0 or self._parser.bad > self._broken:
                raise NoAnswer(f"reader at {self._path} does not answer; check its power and wiring")
            assert self._port is not None
            self._waiting += self._parser.feed(self._port.read(rest_s))
        return self._waiting.pop(0)

    def _forget_input(self) -> None:
        assert self._port is not None
        while self._port.read():
            pass
        self._parser, self._broken = frames.Parser(), 0
        self._waiting.clear()

    def _write(self, data: bytes) -> None:
        assert self._port is not None
        self._port.write(data)
