"""A book and a ledger that fit each other, for the judge's own tests, to be spoilt and excused by hand.

Owns: what is honest, and how an excuse is shown. Does not: spoil or excuse; each file of tests does.
"""

from collections.abc import Callable
from typing import Any

from bus.logs import utc_text
from tests.simulation.book import Asked, Book, Copy, said
from tests.simulation.clock import UTC_0_S
from tests.simulation.judge import Residue, Rules, judge
from tests.simulation.judge_samples import PERIODIC
from tests.simulation.ledger import Committed, Contact, Ledger, PlugIn, Presented, Register, entry_of

Change = Callable[["Cooked"], None]
"""What makes a book wrong, or excuses it."""
RULES = Rules(attempts=3, retry_interval_s=60)


class Cooked:
    """A book and a ledger of two honest sessions on connector 1, to be spoilt."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.book = Book()
        self.residue = Residue()
        self.rules = RULES
        register = self.ledger.registers[1] = Register(1000.0)
        self.ledger.end_s = 5000.0
        for number, at_s in ((1, 100.0), (2, 1000.0)):
            begin_wh, end_wh = 1000.0 * number, 1000.0 * (number + 1)
            self.ledger.presented.append(Presented(at_s, f"TAG{number}"))
            self.ledger.plug_ins.append(PlugIn(1, number, at_s - 2, at_s + 320))
            self.ledger.contacts.append(Contact(1, at_s + 2, begin_wh, number, at_s + 302, end_wh))
            register.add(at_s + 2, begin_wh)
            register.add(at_s + 302, end_wh)
            self.copy(
                "StartTransaction", at_s + 1, connectorId=1, idTag=f"TAG{number}", meterStart=int(begin_wh), timestamp=at_s
            )
            # Who came with a card goes by the app.
            self.book.asked.append(
                Asked(at_s + 300, "RemoteStopTransaction", {"transactionId": number}, "Accepted", at_s + 300)
            )
            self.copy("StopTransaction", at_s + 303, transactionId=number, meterStop=int(end_wh), timestamp=at_s + 301.5)

    def copy(self, action: str, at_s: float, *, fate: str = "good", timestamp: float, **payload: Any) -> Copy:
        """A message that the Central System got."""
        payload["timestamp"] = utc_text(UTC_0_S + timestamp)
        if action == "StopTransaction":
            plug = max((p for p in self.ledger.plug_ins if p.in_s <= timestamp), key=lambda p: p.in_s)
            payload.setdefault("reason", "EVDisconnected" if plug.out_s <= timestamp else "Remote")
        number = 1 + sum(c.action == "StartTransaction" for c in self.book.copies)
        given = number if action == "StartTransaction" else None
        local_tx_id = str(payload.get("transactionId", number))
        place = sum(e.local_tx_id == local_tx_id for e in self.ledger.committed)
        entry = entry_of(local_tx_id, place, action)
        unique_id = f"id-{len(self.book.copies)}"
        copy = Copy(at_s, 1, unique_id, action, payload, f"{action} {payload}", fate, given, entry)
        self.book.copies.append(copy)
        self._commit(copy, place, timestamp)
        return copy

    def _commit(self, copy: Copy, number: int, at_s: float) -> None:
        local_tx_id = copy.entry.rpartition(" ")[0]
        contexts = frozenset({PERIODIC} if copy.action == "MeterValues" else ())
        entry = Committed(at_s, local_tx_id, number, copy.action, 1, "", contexts)
        self.ledger.committed.append(entry)

    def again(self, copy: Copy, at_s: float, unique_id: str = "again") -> None:
        """The same message once more."""
        fields = {name: getattr(copy, name) for name in copy.__struct_fields__}
        self.book.copies.append(Copy(**{**fields, "at_s": at_s, "unique_id": unique_id}))

    def promises(self) -> set[str]:
        """The promises that the judge finds broken."""
        # Unless a test says otherwise an entry said what came of it first.
        firsts = {copy.entry: said(copy.action, copy.payload) for copy in reversed(self.book.copies)}
        silent = [entry for entry in self.ledger.committed if not entry.said]
        for entry in silent:
            entry.said = firsts.get(entry.entry, "")
        found = judge(self.ledger, self.book, self.residue, self.rules)
        for entry in silent:
            entry.said = ""
        return {finding.promise for finding in found}


def excused(cooked: Cooked, spoil: Change, promise: str, excuse: Change) -> None:
    """Without the excuse the broken promise is found, with it it is not."""
    spoil(cooked)
    assert promise in cooked.promises()
    excuse(cooked)
    assert promise not in cooked.promises()


def found_despite(cooked: Cooked, spoil: Change, promise: str, elsewhere: Change) -> None:
    """What looks like an excuse covers another time, or another transaction."""
    spoil(cooked)
    elsewhere(cooked)
    assert promise in cooked.promises()
