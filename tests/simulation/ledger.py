"""What truly happened, dated in true seconds: written by the hardware, the people and the faults, never by the station.

Owns: the shapes that the judge reads (pure data and look-ups). Does not: judge.
"""

from bisect import bisect_right

import msgspec

TOLD_TO_END = "connectors told to end"
"""The kind of span from the SIGTERM until the process is started again."""


class Contact(msgspec.Struct):
    """One time that a contactor was closed. Registers in Wh; `opened_s` infinity: it still is."""

    connector_id: int
    closed_s: float
    closed_wh: float
    plug_in: int
    """Number of the plug-in."""
    opened_s: float = float("inf")
    opened_wh: float = 0.0
    opened_by: str = "station"
    """`station` (or the guard) withdrew energy, or the `car` wanted no more; else it was tripped: `plug`, `fault`, `power`."""


class PlugIn(msgspec.Struct):
    """A plug was in."""

    connector_id: int
    number: int
    in_s: float
    out_s: float = float("inf")


class Presented(msgspec.Struct):
    """Somebody held a card to the reader."""

    at_s: float
    id_tag: str


class RemoteStart(msgspec.Struct):
    """A call for a start, as the bus brought it to `connectors`."""

    id_tag: str
    deadline_s: float
    """From when on nothing may be done because of it."""
    taken_s: float = float("inf")
    """When its authorization was written, which was committed; infinity: it never was."""
    given_up_s: float = float("inf")
    """When `connectors` had heard that its caller was told of a failure."""


class Span(msgspec.Struct):
    """Something was so from `from_s` to `to_s`."""

    what: str
    from_s: float
    to_s: float = float("inf")


class Death(msgspec.Struct):
    """A process died, or the power failed (`who` is `power`). `pending`: unique ids that the queue had not settled then."""

    at_s: float
    who: str
    pending: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    """Of a lost store: names (`entry_of`) of the messages that `connectors` still kept for it."""


class Committed(msgspec.Struct):
    """An entry of the journal that a store of `connectors` has committed: what has to arrive.

    Not what the station says of itself: the simulation sees it pass the disk, with the time at which it did.
    """

    at_s: float
    local_tx_id: str
    number: int
    action: str
    connector_id: int
    said: str
    """Its content, but for times and ids (`book.said`)."""
    contexts: frozenset[str] = frozenset()
    """Of MeterValues: why the readings were taken."""
    dated: bool = True
    """Whether its times were known when it was committed."""

    @property
    def entry(self) -> str:
        """Its name, whatever it says."""
        return entry_of(self.local_tx_id, self.number, self.action)


class Register:
    """A meter's register over time: straight lines between the points at which the power changed."""

    def __init__(self, wh: float) -> None:
        self._times = [0.0]
        self._values = [wh]

    def add(self, at_s: float, wh: float) -> None:
        """The register at a moment at which the power changes."""
        self._times.append(at_s)
        self._values.append(wh)

    def at(self, at_s: float) -> float:
        """The register at any moment, Wh."""
        place = bisect_right(self._times, at_s)
        if place == 0:
            return self._values[0]
        if place == len(self._times):
            return self._values[-1]
        t0, t1 = self._times[place - 1], self._times[place]
        v0, v1 = self._values[place - 1], self._values[place]
        return v0 if t1 == t0 else v0 + (v1 - v0) * (at_s - t0) / (t1 - t0)


class Ledger:
    """Everything that truly happened in one simulation."""

    def __init__(self) -> None:
        self.contacts: list[Contact] = []
        self.plug_ins: list[PlugIn] = []
        self.presented: list[Presented] = []
        self.remote_starts: dict[str, RemoteStart] = {}
        """By the id of their call."""
        self.registers: dict[int, Register] = {}
        self.deaths: list[Death] = []
        self.committed: list[Committed] = []
        self.spans: list[Span] = []
        """Times of trouble: `connectors down`, `meter down`, `clock wrong`, …"""
        self.end_s = 0.0

    def begin(self, what: str, at_s: float) -> None:
        """Something begins, unless it has begun already."""
        if self.open(what) is None:
            self.spans.append(Span(what, at_s))

    def end(self, what: str, at_s: float) -> None:
        """It ends, however often it has begun."""
        for span in self.spans:
            if span.what == what and span.to_s == float("inf"):
                span.to_s = at_s

    def presented_card(self, at_s: float, id_tag: str) -> None:
        """A card is held to a reader that has power."""
        self.presented.append(Presented(at_s, id_tag))

    def forget(self, what: str) -> None:
        """What has begun turned out to matter to nobody."""
        span = self.open(what)
        if span is not None:
            self.spans.remove(span)

    def open(self, what: str) -> Span | None:
        """What has begun and not ended."""
        return next((s for s in reversed(self.spans) if s.what == what and s.to_s == float("inf")), None)

    def without_breath(self, kinds: tuple[str, ...], gap_s: float) -> list[Span]:
        """The spans of these kinds, those with hardly a gap between them taken together: who dies at once was never there."""
        joined: list[Span] = []
        for span in sorted((s for s in self.spans if s.what in kinds), key=lambda s: s.from_s):
            if joined and span.from_s <= joined[-1].to_s + gap_s:
                joined[-1] = Span(span.what, joined[-1].from_s, max(span.to_s, joined[-1].to_s))
            else:
                joined.append(span)
        return joined

    def losses(self, store: str, from_s: float = 0.0, to_s: float = float("inf")) -> list[Death]:
        """When this store was lost, or replaced by an older copy, within a time."""
        return [d for d in self.deaths if d.who == f"store {store}" and from_s <= d.at_s <= to_s]

    def during(self, what: str, from_s: float, to_s: float) -> list[Span]:
        """The spans of this kind that touch a time."""
        return [s for s in self.spans if s.what == what and s.from_s <= to_s and s.to_s >= from_s]


def entry_of(local_tx_id: str, number: int, action: str) -> str:
    """The name of a transaction message, whatever it says and however often it is sent.

    There is one stop: an older copy of `connectors.db` numbers it as a message before it, and the queue does not.
    """
    return f"{local_tx_id} {'stop' if action == 'StopTransaction' else number}"


def plug_seen_out(connector_id: int) -> str:
    """The kind of span, of one instant, that says when the guard has seen a plug out."""
    return f"the guard sees plug {connector_id} out"
