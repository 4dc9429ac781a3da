"""The story of one session out of the logs of all services: from plug or card to the answer to its StopTransaction. Pure.

What belongs to it: lines with its local_tx_id, its transaction_id or its correlation_id; frames and lines with a unique_id that
such a line has; what its connector and that connector's devices did from the time at which somebody came until it was free
again; and what went wrong or was restarted meanwhile.

    session = found(records, "841170718")   a first look at all records: which session is meant
    session = gathered(session, records)    further looks, until nothing is learned any more
    belongs(session, record)                then it can be told of each record whether it is part of the story

Owns: these rules, and the summary in plain words. Does not: read files, or know what the databases say.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

from services.station.log_filter import concerns_connector
from services.station.log_lines import LEVELS, SUPERVISORD, Record
from services.station.programs import FRAMES

STARTS, STOPS, ENDS = "transaction starts", "transaction stops", "transaction ends"
"""What `connectors` says of a transaction."""
DELIVERED, GIVEN_UP = "message delivered", "message given up"
"""How the queue's lines about the end of a message begin."""
_LOOKS_MAX = 5
_NAMED_MAX = 5
_CHANGES, _CARD = "status changes", "card accepted"
_TAKEN = (" local_tx_id=", _CHANGES, _CARD)
"""In the lines that tell when a connector is taken, and when it is free."""
_FREE, _SOMEBODY = "Available", "Preparing"
_NEXT = (_FREE, _SOMEBODY, "Reserved")
_RESTARTS = ("started", "stopped")
_DELIVERERS = ("ocpp_link", "transaction_queue")
_IN_FRAME = re.compile(r'"transactionId"\s*:\s*(-?\d+)', re.ASCII)
_WARNING = LEVELS.index("warning")


class NoStory(Exception):
    """The session can't be told; the text says why in one line."""


class Session(msgspec.Struct, frozen=True):
    """What is known of one session. Times as log lines have them; empty: not in the logs.

    `began`: somebody came to the connector; `started` and `ended`: of the transaction; `free`: the connector was free, or
    somebody else's; `settled`: the Central System has the StopTransaction, or it was given up; `first` and `last`: of the
    lines that name the session; `reused`: another session was given the same transactionId.
    """

    local_tx_id: str = ""
    transaction_ids: frozenset[str] = frozenset()
    correlation_ids: frozenset[str] = frozenset()
    unique_ids: frozenset[str] = frozenset()
    connector: str = ""
    id_tag: str = ""
    began: str = ""
    started: str = ""
    ended: str = ""
    free: str = ""
    settled: str = ""
    first: str = ""
    last: str = ""
    reused: str = ""
    stopping: str = ""
    outcome: str = ""
    """Reason and energy, as the line of the end has them."""
    given_up: bool = False


def found(records: Iterable[Record], asked: str) -> Session:
    """The session that a person means: by transactionId, local_tx_id, or the beginning of one. Raises NoStory."""
    exact: dict[str, tuple[str, str]] = {}
    begin: dict[str, tuple[str, str]] = {}
    bare = False
    for record in records:
        if asked not in record.line:
            continue
        local, number = record.get("local_tx_id"), transaction_of(record)
        if local and asked in (local, number):
            exact.setdefault(local, (record.ts, number))
        elif local.startswith(asked) and local:
            begin.setdefault(local, (record.ts, ""))
        bare = bare or (not local and number == asked)
    if asked in exact:
        return Session(local_tx_id=asked)
    chosen = exact or ({} if bare else begin)
    if len(chosen) == 1:
        return Session(local_tx_id=next(iter(chosen)))
    if chosen:
        named = ", ".join(f"{local} ({ts[:16]}Z)" for local, (ts, _) in list(chosen.items())[:_NAMED_MAX])
        raise NoStory(f"{len(chosen)} sessions are called {asked[:40]!r}: {named}; give the local_tx_id of one")
    if bare:
        return Session(transaction_ids=frozenset({asked}))
    raise NoStory(
        f"not found: no line has a transactionId or local_tx_id {asked[:40]!r}; older lines may be rotated away, "
        "`station queue list --all` has what is not delivered"
    )


def gathered(session: Session, look: Callable[[], Iterable[Record]]) -> Session:
    """All that the logs say of it; `look` gives all records anew, in the order of time. A few looks: an id learned late may
    stand in earlier lines too.
    """
    for _ in range(_LOOKS_MAX):
        before = session
        session = _looked(session, look())
        if session == before:
            break
    return session


def belongs(session: Session, record: Record) -> bool:
    """Whether a record is part of the story of a `gathered` session."""
    in_time = _between(_begin(session), record.ts, max(session.settled, session.last, session.free) if session.settled else "")
    if not in_time and not any(known in record.line for known in _names_of(session)):
        # Most lines of a long log: taking them apart would cost most of the time.
        return False
    if names(session, record):
        return True
    if record.get("local_tx_id") or record.get("correlation_id") or transaction_of(record):
        return False
    unique_id = record.get("unique_id")
    if unique_id in session.unique_ids and _between(_begin(session), record.ts, session.last):
        return True
    if session.connector and concerns_connector(record, int(session.connector)):
        return _between(_begin(session), record.ts, session.free)
    if record.get("connector") or record.get("device")[:5] in ("evse-", "meter"):
        return False
    return _went_wrong(record) and _matters(session, record)


def names(session: Session, record: Record) -> bool:
    """Whether a record names the session itself, by one of its three ids."""
    local = record.get("local_tx_id")
    if local:
        return local == session.local_tx_id
    if record.get("correlation_id") in session.correlation_ids:
        return True
    if session.transaction_ids and transaction_of(record) in session.transaction_ids:
        return _between(session.first, record.ts, "") and not (session.reused and record.ts >= session.reused)
    return False


def transaction_of(record: Record) -> str:
    """The transactionId that a record names; of a frame also that in its text. Empty: none."""
    given = record.get("transaction_id")
    if given or record.service != FRAMES:
        return given
    said = _IN_FRAME.search(record.get("frame"))
    return said[1] if said else ""


def head(session: Session) -> str:
    """Who the story is about, in one line."""
    numbers = "/".join(sorted(session.transaction_ids))
    words = [f"transactionId {numbers or 'not known'}", f"local_tx_id {session.local_tx_id or 'not known'}"]
    words += [f"connector {session.connector}"] if session.connector else []
    words += [f"card {session.id_tag}"] if session.id_tag else []
    return ", ".join(words)


def facts(session: Session) -> dict[str, object]:
    """The same for programs. Empty: not in the logs."""
    kept = ("local_tx_id", "connector", "id_tag", "began", "started", "stopping", "ended", "outcome", "settled", "given_up")
    shown: dict[str, object] = {name: getattr(session, name) for name in kept}
    return shown | {"transaction_ids": sorted(session.transaction_ids), "correlation_ids": sorted(session.correlation_ids)}


def summary(session: Session) -> str:
    """How it went, in one line."""
    if session.started:
        words = [f"began {_clock(session.started)}"]
    else:
        words = [f"its beginning is not in the logs any more, its first line is of {_clock(session.first)}"]
    if session.ended:
        words.append(
            f"ended {_clock(session.ended)} ({session.outcome})" if session.outcome else f"ended {_clock(session.ended)}"
        )
    elif session.settled:
        words.append("its end is not in the logs")
    elif session.stopping:
        words.append(f"is being stopped since {_clock(session.stopping)}")
    else:
        words.append("no end in the logs: it runs still, or nothing was written since")
    if session.settled and session.given_up:
        words.append(f"its StopTransaction was given up {_clock(session.settled)}: see station queue")
    elif session.settled:
        words.append(f"its StopTransaction was delivered {_clock(session.settled)}")
    elif session.ended:
        words.append("its StopTransaction waits, it is not delivered: see station queue list --all")
    return "; ".join(words)


def _looked(session: Session, records: Iterable[Record]) -> Session:
    look = _Look(session)
    for record in records:
        look.take(record)
    return look.result()


class _Look:
    """One look at all records, in the order of time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names = _names_of(session)
        self._came: dict[str, str] = {}
        """By connector: since when it has not been free any more."""
        self._learned: dict[str, str] = {}
        self._ids = {
            "transaction_ids": set(session.transaction_ids),
            "correlation_ids": set(session.correlation_ids),
            "unique_ids": set(session.unique_ids),
        }

    def take(self, record: Record) -> None:
        line = record.line
        named = any(known in line for known in self._names)
        if named and names(self._session, record):
            self._own(record)
        elif record.service != FRAMES and any(word in line for word in _TAKEN):
            self._other(record)

    def result(self) -> Session:
        ids = {name: frozenset(found) for name, found in self._ids.items()}
        return msgspec.structs.replace(self._session, **ids, **self._learned)

    def _own(self, record: Record) -> None:
        learned, event = self._learned, record.get("event")
        learned.setdefault("first", record.ts)
        learned["last"] = max(learned.get("last", ""), record.ts)
        self._learn("correlation_ids", record.get("correlation_id"))
        self._learn("unique_ids", record.get("unique_id"))
        if record.get("local_tx_id") or not self._session.local_tx_id:
            self._learn("transaction_ids", transaction_of(record))
        for name, value in (("connector", record.get("connector")), ("id_tag", record.get("id_tag"))):
            if value and name not in learned and (name != "connector" or value.isdecimal()):
                learned[name] = value
        if not record.get("local_tx_id"):
            return
        if event == STARTS and "started" not in learned:
            learned["started"] = record.ts
            learned["began"] = min(learned["first"], self._came.get(record.get("connector"), record.ts))
        elif event == STOPS:
            learned.setdefault("stopping", record.ts)
        elif event == ENDS:
            learned["ended"], learned["outcome"] = record.ts, record.get("detail")
        elif record.get("action") == "StopTransaction" and event.startswith((DELIVERED, GIVEN_UP)):
            learned["settled"] = record.ts
            self._session = msgspec.structs.replace(self._session, given_up=event.startswith(GIVEN_UP))

    def _other(self, record: Record) -> None:
        """A line of nobody, or of another session: it may say when the connector was taken, or given back."""
        learned, connector, event = self._learned, record.get("connector"), record.get("event")
        local = record.get("local_tx_id")
        if local and transaction_of(record) in self._session.transaction_ids and record.ts > self._session.last:
            learned.setdefault("reused", record.ts)
        if not connector:
            return
        status = record.get("detail").partition("-> ")[2].split(" ")[0].rstrip(",;") if event == _CHANGES else ""
        if status == _FREE or local:
            self._came.pop(connector, None)
        elif status == _SOMEBODY or event == _CARD:
            self._came.setdefault(connector, record.ts)
        is_here = connector == learned.get("connector") and "free" not in learned
        if is_here and ((local and event == STARTS and "started" in learned) or ("ended" in learned and status in _NEXT)):
            learned["free"] = record.ts

    def _learn(self, kind: str, value: str) -> None:
        if value:
            self._ids[kind].add(value)


def _names_of(session: Session) -> list[str]:
    own = [session.local_tx_id] if session.local_tx_id else []
    return [*own, *session.transaction_ids, *session.correlation_ids]


def _went_wrong(record: Record) -> bool:
    """Restarts, and what a person should look at."""
    if record.service == FRAMES:
        return False
    event = record.get("event")
    if event in _RESTARTS or (record.service == SUPERVISORD and event.startswith("exited:")):
        return True
    return LEVELS.index(record.level()) >= _WARNING


def _matters(session: Session, record: Record) -> bool:
    """While it ran whoever says it; from then on who has to deliver. One without an end ran until another one began there."""
    until = session.settled or ("" if session.ended else session.free)
    if not record.ts or not _between(_begin(session), record.ts, until):
        return False
    return not session.ended or record.ts <= session.ended or record.service in _DELIVERERS


def _begin(session: Session) -> str:
    return session.began or session.first


def _between(since: str, ts: str, until: str) -> bool:
    return ts >= since and (not until or ts <= until)


def _clock(ts: str) -> str:
    return f"{ts[:10]} {ts[11:19]} UTC"
