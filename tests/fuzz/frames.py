"""Frames that a Central System might send, from a seed: random ones, and valid ones with something broken.

Owns: the frames. Does not: judge what the link does with them (`test_link.py`).
"""

import json
import random
import string
from collections.abc import Callable
from typing import Any

from services.ocpp_link.actions import ACTIONS

WORDS = ("key", "value", "connectorId", "idTag", "type", "status", "currentTime", "interval", "", "é")
BYTES_MAX = 300_000
"""A little more than the link reads (`rpc.FRAME_BYTES_MAX`)."""
PAYLOADS: dict[str, list[Any]] = {
    "ChangeAvailability": [{"connectorId": 1, "type": "Inoperative"}, {"connectorId": 0, "type": "Operative"}],
    "ChangeConfiguration": [{"key": "MeterValueSampleInterval", "value": "30"}, {"key": "X", "value": ""}],
    "ClearCache": [{}],
    "DataTransfer": [{"vendorId": "org.example", "messageId": "m", "data": "d"}],
    "GetConfiguration": [{}, {"key": ["HeartbeatInterval", "Nonsense"]}],
    "RemoteStartTransaction": [{"idTag": "TAG", "connectorId": 1}],
    "RemoteStopTransaction": [{"transactionId": 1}],
    "UnlockConnector": [{"connectorId": 1}],
    "SendLocalList": [{"listVersion": 1, "updateType": "Full"}],
    "TriggerMessage": [{"requestedMessage": "Heartbeat"}],
    "Heartbeat": [{}],
}
"""Payloads to begin with. A Reset, and keys that change how the session goes, are not among them."""
NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 2**64, -(2**70), 1e308, 1e-320, "", " ", "\x00", "\ud800", "é" * 30, "x" * 501, "x" * 5000,
    [], {}, [[]], {"": {}}, "null", "NaN", "2027-01-15T08:00:00Z", "' OR 1=1 --", "%s%n", "../../etc/passwd",
)  # fmt: skip


class Frames:
    """An endless supply; the same seed gives the same frames."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds: list[tuple[Callable[[], str], int]] = [
            (self._mutated_call, 50),
            (self._answer, 15),
            (self._array, 10),
            (self._cut, 10),
            (self._text, 10),
            (self._deep, 3),
            (self._large, 1),
        ]

    def next(self, ids: list[str]) -> str:
        """A frame; `ids` are unique ids that the link knows of, which some answers bear."""
        self._ids = ids
        kinds, weights = zip(*self._kinds, strict=True)
        made: str = self._random.choices(kinds, weights)[0]()
        return made

    def _mutated_call(self) -> str:
        action = self._random.choice(list(PAYLOADS))
        payload = json.loads(json.dumps(self._random.choice(PAYLOADS[action])))
        for _ in range(self._random.randint(1, 3)):
            payload = self._mutated(payload)
        if self._random.random() < 0.3:
            action = self._random.choice([*ACTIONS, action.lower(), "", "Nonsense", "x" * 300])
        frame: list[Any] = [2, self._unique_id(), action, payload]
        if self._random.random() < 0.15:
            frame[self._random.randrange(3)] = self._random.choice(NASTY)
        if self._random.random() < 0.1:
            frame = frame[: self._random.randint(0, 3)] if self._random.random() < 0.5 else [*frame, self._value(1)]
        return json.dumps(frame) if action != "Reset" else "[]"

    def _mutated(self, payload: Any) -> Any:
        if isinstance(payload, dict) and payload and self._random.random() < 0.8:
            name = self._random.choice(list(payload))
            match self._random.randrange(4):
                case 0:
                    del payload[name]
                case 1:
                    payload[self._word()] = self._value(2)
                case 2:
                    payload[name] = self._mutated(payload[name])
                case _:
                    payload[name] = self._random.choice(NASTY)
            return payload
        if isinstance(payload, list) and payload:
            return [*payload, self._mutated(payload[0])] * self._random.choice([1, 1, 50])
        return self._value(2)

    def _answer(self) -> str:
        unique_id = self._random.choice(self._ids) if self._ids and self._random.random() < 0.5 else self._unique_id()
        if self._random.random() < 0.5:
            return json.dumps([3, unique_id, self._value(3)])
        return json.dumps([4, unique_id, *(self._value(1) for _ in range(self._random.randint(0, 4)))])

    def _array(self) -> str:
        return json.dumps([self._value(2) for _ in range(self._random.randint(0, 6))])

    def _cut(self) -> str:
        """A valid frame, damaged as text."""
        text = json.dumps([2, self._unique_id(), "GetConfiguration", {"key": ["HeartbeatInterval"]}])
        where = self._random.randrange(len(text))
        return text[:where] + self._random.choice(["", '"', "\\", "\x00", "]", "}", "," * 9, "\u2028"]) + text[where + 1 :]

    def _text(self) -> str:
        return "".join(self._random.choices(string.printable + "é\u2028\U0001f50c\ud800", k=self._random.randint(0, 200)))

    def _deep(self) -> str:
        depth = self._random.randint(10, 20_000)
        return self._random.choice(["[" * depth, '{"a":' * depth, f'[2,"d","GetConfiguration",{"[" * depth}{"]" * depth}]'])

    def _large(self) -> str:
        data = "x" * self._random.randint(0, BYTES_MAX)
        return json.dumps([2, self._unique_id(), "DataTransfer", {"vendorId": "v", "data": data}])

    def _value(self, depth: int) -> Any:
        match self._random.randrange(5 if depth else 2):
            case 0:
                return self._random.choice(NASTY)
            case 1:
                return self._random.choice([self._random.randint(-(10**6), 10**6), self._random.random(), self._word()])
            case 2:
                return [self._value(depth - 1) for _ in range(self._random.randint(0, 3))]
            case _:
                return {self._word(): self._value(depth - 1) for _ in range(self._random.randint(0, 3))}

    def _word(self) -> str:
        return self._random.choice(WORDS)

    def _unique_id(self) -> str:
        return self._random.choice([f"f-{self._random.random()}"] * 6 + ["f-same", "", "x" * 37, "x" * 300])
