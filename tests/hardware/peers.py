"""Tiny scripted devices behind pseudo-terminals: what the drivers under test talk to.

Written from hardware.md, without a line of the drivers or of the simulator, so that they check each other.
"""

import os
import re
import select
import struct
import threading
import tty
from collections.abc import Callable
from pathlib import Path

Answer = Callable[[bytes], bytes]


class PtyPeer:
    """A pty behind a symlink; what is written to it goes to `answer`, and what that returns goes back."""

    def __init__(self, link: Path, answer: Answer = lambda _: b"") -> None:
        self.link = link
        self.answer = answer
        self._master = self._slave = -1
        self._thread: threading.Thread | None = None
        self.appear()

    @property
    def path(self) -> str:
        return str(self.link)

    def appear(self) -> None:
        """Plug in: a new pty behind the same symlink."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._stop_read, self._stop_write = os.pipe()
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(self._slave))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def vanish(self) -> None:
        """Pull out: the symlink goes, and whoever has the port open sees it hang up."""
        if self._thread is None:
            return
        os.write(self._stop_write, b"x")
        self._thread.join()
        self._thread = None
        self.link.unlink(missing_ok=True)
        for descriptor in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(descriptor)

    def send(self, data: bytes) -> None:
        """Say something unasked."""
        os.write(self._master, data)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            out = self.answer(os.read(self._master, 4096))
            if out:
                os.write(self._master, out)


def sealed(body: str) -> bytes:
    """A RAPI line with its XOR."""
    total = 0
    for char in body.encode():
        total ^= char
    return f"{body}^{total:02X}\r".encode()


class ScriptedEvse:
    """As much of an OpenEVSE as the driver's tests need: `commands` are those that came, in order, without their ids."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.state, self.pilot, self.vflags = 0x01, 0x01, 0x0200
        self.amps, self.least_a, self.most_a = 16, 6, 32
        self.flags = 0x0021
        self.elapsed_s, self.session_ws = 0, 0
        self.supervision = "0 0"
        self.temperatures = "250 -2560 -2560"
        self.unknown: set[str] = {"GY", "GD"}
        self.lock, self.lock_mode, self.lock_jams = 0, "A", False
        self.missed_pulse = self.relay_sticks = False
        self._hidden = self.pilot, self.vflags
        """What -12 V hides."""
        self.mute = False
        self.with_ids = True
        self.rapi4 = False
        self.before: list[bytes] = []
        """Bytes that go out before the next reply, once."""
        self.garble = 0
        """So many replies get a wrong checksum."""
        self._buffer = b""

    def plug(self) -> None:
        self.pilot, self.vflags = 0x02, self.vflags | 0x0100
        if self.state == 0x01:
            self.state = 0x02

    def charge(self) -> None:
        self.plug()
        self.state = self.pilot = 0x03
        self.vflags |= 0x0040

    def at(self) -> bytes:
        return sealed(f"$AT {self.state:02x} {self.pilot:02x} {self.amps} {self.vflags:04x}")

    def count(self, command: str) -> int:
        return self.commands.count(command)

    def set_commands(self) -> list[str]:
        """What was not a mere question."""
        return [command for command in self.commands if not command.startswith("G")]

    def __call__(self, data: bytes) -> bytes:
        self._buffer += data
        out = b""
        while b"\r" in self._buffer:
            line, self._buffer = self._buffer.split(b"\r", 1)
            out += self._line(line.rpartition(b"$")[2].decode())
        return out

    def _line(self, line: str) -> bytes:
        body, _, digits = line.partition("^")
        assert sealed("$" + body)[-3:-1].decode() == digits, line
        assert len(line) + 1 <= 31, line
        command, _, sequence = body.partition(" :")
        self.commands.append(command)
        if self.mute:
            return b""
        reply = self._reply(command) if command.split()[0] not in self.unknown else "$NK"
        if self.with_ids and sequence:
            reply += f" :{sequence}"
        raw = sealed(reply)
        if self.garble:
            self.garble -= 1
            raw = raw[:-2] + bytes([raw[-2] ^ 1]) + b"\r"
        before, self.before = b"".join(self.before), []
        return before + raw

    def _reply(self, command: str) -> str:
        match command.split():
            case ["GV"]:
                return "$OK 8.2.3 5.2.1"
            case ["GS"] if self.rapi4:
                return f"$OK {self.state} {self.elapsed_s}"
            case ["GS"]:
                return f"$OK {self.state:02x} {self.elapsed_s} {self.pilot:02x} {self.vflags:04x}"
            case ["GU"]:
                return f"$OK {self.session_ws} 230000"
            case ["GC"]:
                return f"$OK {self.least_a} 80 {self.amps} {self.most_a}"
            case ["GE"]:
                return f"$OK {self.amps} {self.flags:04x}"
            case ["GP"]:
                return f"$OK {self.temperatures}"
            case ["G0"]:
                return f"$OK {int(bool(self.vflags & 0x0100))}"
            case ["GF"]:
                return "$OK 1 0 0"
            case ["GY"]:
                return f"$OK {self.supervision} 0"
            case ["GD"]:
                return "$OK 0 0 0 0"
            case ["SC", amps, "V"]:
                self.amps = min(max(int(amps), self.least_a), self.most_a)
                return f"{'$OK' if self.amps == int(amps) else '$NK'} {self.amps}"
            case ["SY"]:
                return "$NK 20 6 2" if self.missed_pulse else "$OK 20 6 0"
            case ["SY", "165"]:
                self.missed_pulse, self.amps = False, self.most_a
                return "$OK 20 6 1"
            case ["SY", interval, amps]:
                self.supervision = f"{interval} {amps}"
                return f"$OK {interval} {amps} 0"
            case ["G5"]:
                return f"$OK {self.lock} {self.lock_mode}"
            case ["S5", "A" | "M" as mode]:
                self.lock_mode = mode
                return "$OK"
            case ["S5", position]:
                if self.lock_jams:
                    return "$NK"
                if self.lock_mode == "M":
                    self.lock = int(position)
                return "$OK"
            case ["FS"]:
                if self.state < 0x04:
                    self.state, self.vflags = 0xFE, self.vflags & ~0x0040
                elif self.state == 0xFF:
                    self.state, (self.pilot, self.vflags) = 0xFE, self._hidden
                return "$OK"
            case ["FD"]:
                self.vflags |= 0x0040 if self.relay_sticks else 0
                self._hidden = self.pilot, self.vflags & ~(0 if self.relay_sticks else 0x0040)
                self.state, self.pilot, self.vflags = 0xFF, 0x00, self._hidden[1] & ~0x0100
                return "$OK"
            case ["FE"]:
                if self.state >= 0xFE:
                    self.state = 0x02 if self.vflags & 0x0100 else 0x01
                return "$OK"
        return "$OK"


def crc(frame: bytes) -> bytes:
    """Modbus CRC-16, low byte first."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


class ScriptedMeter:
    """A Modbus slave with float32 input registers, and a serial number at FC00. `requests`: (function, address, count)."""

    def __init__(self, unit: int = 1, serial: int | None = 12345) -> None:
        self.unit = unit
        self.serial = serial
        self.values: dict[int, float] = {}
        self.registers: dict[int, dict[int, int]] = {}
        """By function code: registers as they lie, for meters that have integers; others are refused with exception 2."""
        self.holes: set[int] = set()
        """Registers whose reading is refused with exception 2."""
        self.requests: list[tuple[int, int, int]] = []
        self.mute = 0
        self.garble = 0
        self.answers_as: int | None = None
        self._buffer = b""

    def __call__(self, data: bytes) -> bytes:
        self._buffer += data
        if len(self._buffer) < 8:
            return b""
        frame, self._buffer = self._buffer[:8], self._buffer[8:]
        assert crc(frame[:6]) == frame[6:], frame
        unit, function, address, count = struct.unpack(">BBHH", frame[:6])
        self.requests.append((function, address, count))
        if unit != self.unit or self.mute:
            self.mute = max(0, self.mute - 1)
            return b""
        words = self._words(function, range(address, address + count))
        shown = unit if self.answers_as is None else self.answers_as
        reply = bytes((shown, function | 0x80, 2)) if words is None else bytes((shown, function, 2 * count)) + words
        if self.garble:
            self.garble -= 1
            return reply + b"\0\0"
        return reply + crc(reply)

    def _words(self, function: int, addresses: range) -> bytes | None:
        if self.registers:
            known = self.registers.get(function, {})
            present = set(addresses) <= set(known)
            return b"".join(struct.pack(">H", known[address]) for address in addresses) if present else None
        if function == 3:
            known = self.serial is not None and (addresses[0], len(addresses)) == (0xFC00, 2)
            return struct.pack(">I", self.serial) if known else None
        if self.holes & set(addresses):
            return None
        words = {a + i: w for a, v in self.values.items() for i, w in enumerate(struct.unpack(">HH", struct.pack(">f", v)))}
        return b"".join(struct.pack(">H", words.get(address, 0)) for address in addresses)


def bytes_of(text: str) -> bytes:
    """`02 30 31` as bytes."""
    return bytes.fromhex(re.sub(r"\s", "", text))
