"""One RAPI conversation over a port: a request, its reply, and what the controller says in between (hardware.md §3.1).

Owns: sequence ids, time-outs, the one retry, counters. Does not: know what a command means.
"""

from collections import deque
from collections.abc import Callable

from services.connectors.drivers import rapi
from services.hardware.contract import NoAnswer, WrongAnswer
from services.hardware.port import Port
from services.hardware.tally import Tally

ANSWER_S = 0.45
"""Typical is 20 ms; two tries fit into the second that an exchange may take."""
TRIES = 2
UNASKED_MAX = 32
"""Asynchronous lines kept until they are taken; the oldest go first, as every one of them only tells of a newer state."""

READS_MAX = 16
"""A device that never stops sending does not hold the thread."""


class RapiChannel:
    """One command at a time; only the driver's thread uses it."""

    def __init__(self, port: Port, tally: Tally, now: Callable[[], float]) -> None:
        self._port = port
        self._tally = tally
        self._now = now
        self._parser = rapi.Parser()
        self._sequence = 0
        self._with_ids: bool | None = None
        self._unasked: deque[rapi.Line] = deque(maxlen=UNASKED_MAX)

    def request(self, command: str, deadline_s: float) -> rapi.Reply:
        """The reply to `command`, positive or not, before the boottime `deadline_s`.

        Raises NoAnswer, WrongAnswer when only garbage came, PortMissing.
        """
        garbage = self._garbage()
        for _ in range(TRIES):
            reply = self._try(command, min(self._now() + ANSWER_S, deadline_s))
            if reply is not None:
                self._tally.replies += 1
                return reply
        where = f"charging controller at {self._port.path}"
        if self._garbage() > garbage:
            raise WrongAnswer(f"{where} sends nonsense; check that it is an OpenEVSE at 115200 baud, wired alone and well")
        raise NoAnswer(f"{where} does not answer; check its power and cable")

    def unasked(self) -> list[rapi.Line]:
        """The asynchronous lines since the last call, those that wait in the port included."""
        self._read_waiting()
        lines = list(self._unasked)
        self._unasked.clear()
        return lines

    def _try(self, command: str, until_s: float) -> rapi.Reply | None:
        if self._now() >= until_s:
            return None
        if self._with_ids is False:
            # Without ids only an empty line tells that the next reply is not a late one.
            self._read_waiting()
        self._sequence = self._sequence % rapi.SEQUENCE_MAX + 1
        sequence = None if self._with_ids is False else self._sequence
        self._port.write(rapi.encode(command, sequence))
        self._tally.transmissions += 1
        while (left_s := until_s - self._now()) > 0:
            for reply in self._feed(self._port.read(left_s)):
                if self._belongs(reply, sequence):
                    return reply
                if reply.sequence is None and not reply.ok:
                    # The controller could not read the request: say it again.
                    self._tally.errors += 1
                    return None
        self._tally.timeouts += 1
        return None

    def _belongs(self, reply: rapi.Reply, sequence: int | None) -> bool:
        """Whether it answers the request; a reply with another id is a late one of an earlier request."""
        if self._with_ids is None and reply.ok:
            # Controllers before sequence ids take the id for one more parameter and answer without it.
            if reply.sequence is None:
                self._with_ids = False
                return True
            if reply.sequence == sequence:
                self._with_ids = True
        return reply.sequence == sequence

    def _read_waiting(self) -> None:
        for _ in range(READS_MAX):
            data = self._port.read()
            if not data:
                return
            self._feed(data)

    def _feed(self, data: bytes) -> list[rapi.Reply]:
        """The replies in `data`; asynchronous lines are kept for `unasked`."""
        bad = self._parser.bad
        lines = self._parser.feed(data)
        self._tally.errors += self._parser.bad - bad
        self._unasked.extend(line for line in lines if not isinstance(line, rapi.Reply | rapi.Ignored))
        return [line for line in lines if isinstance(line, rapi.Reply)]

    def _garbage(self) -> int:
        return self._tally.errors + self._parser.noise
