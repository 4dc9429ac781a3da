"""The virtual OpenEVSE at the end of its serial line: bytes in, bytes out. Sans I/O.

Owns: reading requests, the order of replies and unasked lines, and the ways in which a line can be bad (`Quirks`).
Does not: move bytes, or know what the board does.
"""

import msgspec

from services.simulator import rapi
from services.simulator.board import Board, Eeprom, Message
from services.simulator.board_commands import Answer, execute


class Quirks(msgspec.Struct):
    """Faults of the line and habits of other firmware, for tests of drivers."""

    mute: bool = False
    """Hears everything and says nothing."""
    garble_checksums: bool = False
    drop_replies: int = 0
    """So many replies get lost; the commands are obeyed."""
    noise: bytes = b""
    """Sent before each reply."""
    announce_first: bool = False
    """`$AT` comes before the `$OK` of the command that caused it, as older firmware could do."""
    old_protocol: bool = False
    """RAPI 4: `$GS` has two values, the state in decimal, and `$ST` stands for `$AT`."""


class OpenEvse:
    """A board and its serial line."""

    def __init__(self, board: Board, quirks: Quirks | None = None) -> None:
        self.board = board
        self.quirks = quirks or Quirks()
        self._reader = rapi.LineReader()
        self._output = bytearray()
        self._echo = False
        self._told_state: str | None = None

    @property
    def eeprom(self) -> Eeprom:
        """What it keeps without power."""
        return self.board.eeprom

    def receive(self, data: bytes) -> None:
        """Bytes from the line; what they ask for is done now."""
        if self.board.booting:
            return
        if self._echo:
            self._output += data
        for line in self._reader.feed(data):
            self._obey(line)

    def take_output(self) -> bytes:
        """What the board has said since the last call."""
        self._tell()
        output = bytes(self._output)
        self._output.clear()
        return b"" if self.quirks.mute else output

    def _obey(self, line: str) -> None:
        request = rapi.parse(line)
        if request is None:
            self._reply(Answer(ok=False), "")
            return
        if len(request.params) + 1 > rapi.TOKENS_MAX:
            self._reply(Answer(ok=False), request.sequence)
            return
        self._tell()
        answer = execute(self.board, request, old=self.quirks.old_protocol)
        if request.name == "FF" and answer.ok and request.params[0] == "E":
            self._echo = request.params[1] == "1"
        self.board.announce()
        if self.quirks.announce_first:
            self._tell()
        if not answer.silent:
            self._reply(answer, request.sequence)
        self._tell()

    def _reply(self, answer: Answer, sequence: str) -> None:
        if self.quirks.drop_replies > 0:
            self.quirks.drop_replies -= 1
            return
        self._say("OK" if answer.ok else "NK", answer.values, sequence, noise=self.quirks.noise)

    def _tell(self) -> None:
        messages, self.board.messages = self.board.messages, []
        for message in messages:
            if message.name == "AB":
                self._echo = False
            told = self._in_old_words(message) if self.quirks.old_protocol else message
            if told is not None:
                self._say(told.name, told.values)

    def _in_old_words(self, message: Message) -> Message | None:
        if message.name != "AT":
            return message if message.name != "AB" else None
        if message.values[0] == self._told_state:
            return None
        self._told_state = message.values[0]
        return Message("ST", (message.values[0],))

    def _say(self, name: str, values: tuple[str, ...], sequence: str = "", *, noise: bytes = b"") -> None:
        line = rapi.line(name, values, sequence)
        if self.quirks.garble_checksums:
            line = line[:-2] + (b"0" if line[-2:-1] != b"0" else b"1") + b"\r"
        self._output += noise + line
