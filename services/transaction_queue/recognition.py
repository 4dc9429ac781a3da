"""Whether an entry of the journal is a message that is here already, and under which number it is kept (pure; design §3).

A message is known by its transaction and number: it waits, or was settled. But an older copy of `connectors.db` gives numbers a
second time. A transaction has one StopTransaction: so a stop is known by that alone, and one that comes under the number of
another message is kept under the next one. Choice: readings under a number that is known are dropped, whatever they say: they
can't be told from repeated ones for sure, and the stop has the register that bills.

After its stop nothing more comes of a transaction: what an older copy, in which it runs on, goes on to say is not delivered, be
it another stop. What fills a gap before the stop was lost here, and is.

Owns: these rules. Does not: read rows (`arrivals.py`, `handover.py`).
"""

import msgspec

RENUMBERED = "numbered as a message before it, by an older copy of connectors.db"
"""The alarm of a stop that is kept under another number."""


class Here(msgspec.Struct, frozen=True):
    """What is known here of an entry's transaction, and of the number that it comes under."""

    waits: bool = False
    """A message of that number waits."""
    settled: bool = False
    """A message of that number was delivered or given up."""
    highest: int = -1
    """Number of the transaction's last message."""
    stop_waits: int | None = None
    """Number of its StopTransaction, where that waits; looked for only if the entry is one."""
    stop_settled: bool = False
    """Its StopTransaction was delivered or given up."""


class Place(msgspec.Struct, frozen=True):
    """The number of the message here. `new`: it has to be stored; `waits`: it is here, and nothing became of it yet.

    `over`: it is none that is here, but its transaction is over.
    """

    number: int
    new: bool
    waits: bool = False
    over: bool = False


def place(here: Here, number: int, *, is_stop: bool) -> Place:
    """Of an entry that comes under `number`."""
    if is_stop and here.stop_waits is not None:
        return Place(here.stop_waits, new=False, waits=True)
    if not (here.waits or here.settled):
        over = here.stop_settled and (is_stop or number > here.highest)
        return Place(number, new=not over, over=over)
    if is_stop and not here.stop_settled:
        return Place(here.highest + 1, new=True)
    return Place(number, new=False, waits=here.waits)
