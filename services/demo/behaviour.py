"""How the Central System behaves: well, unless it is told otherwise.

Owns: the switches, for tests and for the demo. Does not: act on them. Any thread may change them at any time.
"""

import random
import threading
from enum import Enum
from typing import Any

import msgspec

ANY = "*"
"""Instead of an action: every CALL."""


class Deed(Enum):
    """What is done to a CALL instead of answering it properly."""

    CALL_ERROR = "call error"
    SILENCE = "silence"
    CLOSE_BEFORE = "close before answering"
    CLOSE_AFTER = "close after answering"
    ANSWER = "this answer"


class Rule(msgspec.Struct):
    """A deed for the next `times` CALLs of `action` after `skip` of them; `times` None: until cleared."""

    action: str
    deed: Deed
    times: int | None
    skip: int = 0
    processed: bool = False
    code: str = ""
    description: str = ""
    payload: dict[str, Any] | None = None


class Behaviour:
    """All switches. The plain attributes may be set at any time and hold from the next message or handshake on."""

    def __init__(self) -> None:
        self.registration = "Accepted"
        self.interval_s = 300
        self.default_status = "Accepted"
        """For idTags that nothing was said about."""
        self.transaction_ids: list[int] = []
        """The next ids to issue, 0 and negative ones too; then random positive ones."""
        self.recognise_repeats = True
        """A StartTransaction with the unique id and content of an earlier one gets the same transactionId (design §4.10)."""
        self.passwords: dict[str, str] | None = None
        """By identity; None: no password is asked for."""
        self.http_status: int | None = None
        """Refuse every handshake with this status."""
        self.refuse_subprotocol = False
        """Accept the handshake without a subprotocol, as broken Central Systems do."""
        self.message_timeout_s = 1.0
        """A CALL that comes sooner than this after an unanswered one breaks OCPP-J 1.6 §4.1.1. Below every sane time-out."""
        self._id_tags: dict[str, dict[str, Any]] = {}
        self._rules: list[Rule] = []
        self._delays_s: dict[str, float] = {}
        self._random = random.Random()
        self._lock = threading.Lock()

    def set_id_tag(
        self, id_tag: str, status: str = "Accepted", *, parent: str | None = None, expiry_date: str | None = None
    ) -> None:
        """What is answered about an idTag, compared without case (OCPP 1.6 §7.28)."""
        info = {"status": status, "parent_id_tag": parent, "expiry_date": expiry_date}
        with self._lock:
            self._id_tags[id_tag.lower()] = info

    def id_tag_info(self, id_tag: str) -> dict[str, Any]:
        """Keyword arguments of the package's IdTagInfo."""
        with self._lock:
            return dict(self._id_tags.get(id_tag.lower(), {"status": self.default_status}))

    def parent_of(self, id_tag: str) -> str | None:
        """Lower case; None without a parent."""
        parent = self.id_tag_info(id_tag).get("parent_id_tag")
        return None if parent is None else str(parent).lower()

    def next_transaction_id(self) -> int:
        """Of the given ones first."""
        with self._lock:
            return self.transaction_ids.pop(0) if self.transaction_ids else self._random.randint(1, 2**31 - 1)

    def call_error(
        self, action: str, times: int | None = 1, *, code: str = "InternalError", description: str = "", skip: int = 0
    ) -> None:
        """Answer with a CALLERROR, and process nothing."""
        self._add(Rule(action, Deed.CALL_ERROR, times, skip, code=code, description=description))

    def silence(self, action: str, times: int | None = 1, *, processed: bool = False, skip: int = 0) -> None:
        """Do not answer; `processed`: but take it for true."""
        self._add(Rule(action, Deed.SILENCE, times, skip, processed))

    def close(self, action: str = ANY, times: int | None = 1, *, answered: bool, processed: bool = True, skip: int = 0) -> None:
        """Cut the connection on the CALL, before or after the answer. The n-th message: `skip=n - 1`."""
        self._add(Rule(action, Deed.CLOSE_AFTER if answered else Deed.CLOSE_BEFORE, times, skip, processed))

    def answer(self, action: str, payload: dict[str, Any], times: int | None = 1, *, skip: int = 0) -> None:
        """Answer with this payload, unchecked."""
        self._add(Rule(action, Deed.ANSWER, times, skip, payload=payload))

    def delay(self, action: str, delay_s: float) -> None:
        """Answer CALLs of this action later; 0: at once again."""
        with self._lock:
            self._delays_s[action] = delay_s

    def clear(self) -> None:
        """Forget all rules and delays; the other switches stay."""
        with self._lock:
            self._rules.clear()
            self._delays_s.clear()

    def take_rule(self, action: str) -> Rule | None:
        """The rule for this CALL, used up by asking. Rules are tried in the order in which they were given."""
        with self._lock:
            for rule in self._rules:
                if rule.action not in (action, ANY):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times <= 0:
                        self._rules.remove(rule)
                return rule
        return None

    def delay_s(self, action: str) -> float:
        """How long the answer to this action takes."""
        with self._lock:
            return self._delays_s.get(action, self._delays_s.get(ANY, 0.0))

    def _add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)
