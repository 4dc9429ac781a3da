"""Rows of `messages` as typed values, and what a person reads in them (pure).

Owns: the shape of a row, its JSON columns, the view of it that the core decides by. Does not: run SQL (`store.py`).
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from bus.logs import utc_text
from bus.messages import CloseLostTransaction, MeterValues, Moment, SampledValue, StartTransaction, TransactionMessage
from bus.vocabulary import Measurand, UnitOfMeasure
from services.transaction_queue.state import Head, Start
from services.transaction_queue.times import Boot, needs_clock

UNIQUE_IDS_MAX = 1000
"""Ids kept of one message; beyond it the oldest are forgotten. Only a Central System that refuses for weeks gets there."""
FAILURES_MAX = 50
"""Failures kept of one message in words; beyond it the oldest are forgotten, the count goes on."""

CORRELATION_CHARS_MAX = 36
INTEGER_MAX = 2**63 - 1
"""The largest that a column holds."""

_Natural = Annotated[int, msgspec.Meta(ge=0)]


class Failure(msgspec.Struct, frozen=True):
    """One failed attempt, for people."""

    utc: str | None
    unique_id: str
    reason: str


class _Columns(msgspec.Struct, frozen=True):
    """The columns that `SELECT_HEAD` gives, as SQLite has them."""

    id: int
    local_tx_id: str
    number: _Natural
    payload: bytes
    unique_ids: bytes
    failures: bytes
    outstanding: int
    answered_on: str
    attempts: _Natural
    failed_boot_id: str
    failed_boottime_ms: int
    stored_boot_id: str
    stored_boottime_ms: int
    stored_utc: str | None
    transaction_id: str | None
    given_up: int | None
    anchor_boot_id: str | None
    anchor_boottime_ms: int | None
    anchor_utc_ms: int | None
    correlation_id: bytes | None
    without_id: int | None


class Row(msgspec.Struct, frozen=True):
    """The oldest message, decoded."""

    row_id: int
    local_tx_id: str
    number: int
    message: TransactionMessage
    unique_ids: tuple[str, ...]
    failures: tuple[Failure, ...]
    outstanding: bool
    answered_on: str
    attempts: int
    failed_boot_id: str
    failed_boottime_ms: int
    stored_at: Moment
    start: Start
    transaction_id: int | None
    anchor: Moment | None
    correlation_id: str = ""
    """For the logs; empty where it is missing or was damaged."""
    without_id: bool = False
    """It went out with transactionId -1."""


# Text that may be damaged is read as bytes, so that a bad byte is a matter of this module and not of the SQLite driver.
SELECT_HEAD = (
    "SELECT m.id, m.local_tx_id, m.number, CAST(m.payload AS BLOB), CAST(m.unique_ids AS BLOB), CAST(m.failures AS BLOB),"
    " m.outstanding, m.answered_on, m.attempts, m.failed_boot_id, m.failed_boottime_ms, m.stored_boot_id,"
    " m.stored_boottime_ms, m.stored_utc, t.transaction_id, t.given_up, t.anchor_boot_id, t.anchor_boottime_ms,"
    " t.anchor_utc_ms, CAST(m.correlation_id AS BLOB), m.without_id"
    " FROM messages AS m LEFT JOIN transactions AS t ON t.local_tx_id = m.local_tx_id ORDER BY m.id LIMIT 1"
)
_NONE = b"[]"
SELECT_AFTER_HEAD = f"{SELECT_HEAD} OFFSET 1"


def decode_row(values: tuple[Any, ...]) -> Row:
    """A row of `SELECT_HEAD`. Raises ValueError in plain words if it is not what was once written."""
    try:
        columns = msgspec.convert(dict(zip(_Columns.__struct_fields__, values, strict=True)), _Columns)
        transaction_id = None if columns.transaction_id is None else int(columns.transaction_id)
        return Row(
            row_id=columns.id,
            local_tx_id=columns.local_tx_id,
            number=columns.number,
            message=msgspec.json.decode(columns.payload, type=TransactionMessage),
            unique_ids=() if columns.unique_ids == _NONE else msgspec.json.decode(columns.unique_ids, type=tuple[str, ...]),
            failures=() if columns.failures == _NONE else msgspec.json.decode(columns.failures, type=tuple[Failure, ...]),
            outstanding=bool(columns.outstanding),
            answered_on=columns.answered_on,
            attempts=columns.attempts,
            failed_boot_id=columns.failed_boot_id,
            failed_boottime_ms=columns.failed_boottime_ms,
            stored_at=Moment(columns.stored_boot_id, columns.stored_boottime_ms, _utc_ms(columns.stored_utc)),
            start=_start(columns),
            transaction_id=transaction_id,
            anchor=_anchor(columns),
            correlation_id=(columns.correlation_id or b"").decode(errors="replace")[:CORRELATION_CHARS_MAX],
            without_id=bool(columns.without_id),
        )
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def head_of(row: Row, boots: tuple[Boot, ...], boot_id: str) -> Head:
    """What the core of a queue that runs in the hardware boot `boot_id` decides by."""
    return Head(
        row_id=row.row_id,
        local_tx_id=row.local_tx_id,
        number=row.number,
        is_start=isinstance(row.message, StartTransaction),
        start=row.start,
        transaction_id=row.transaction_id,
        unique_ids=row.unique_ids,
        outstanding=row.outstanding,
        answered_on=row.answered_on,
        attempts=row.attempts,
        failed_boot_id=row.failed_boot_id,
        failed_boottime_s=row.failed_boottime_ms / 1000,
        stored_s=row.stored_at.boottime_ms / 1000 if row.stored_at.boot_id == boot_id else 0.0,
        needs_clock=needs_clock(row.message, boots),
        without_id=row.without_id,
    )


def action_of(message: TransactionMessage) -> str:
    """OCPP's name of the message."""
    return type(message).__name__


def text_of(at: Moment) -> str | None:
    """A moment for people; None while its UTC is not known."""
    return None if at.utc_ms is None else utc_text(at.utc_ms / 1000)


def facts_of(message: TransactionMessage) -> dict[str, Any]:
    """What a message tells of its transaction, as columns of it."""
    if isinstance(message, StartTransaction):
        return {
            "id_tag": message.id_tag,
            "started": text_of(message.at),
            "meter_start_wh": message.meter_start_wh,
            "start_boot_id": message.at.boot_id,
            "start_boottime_ms": message.at.boottime_ms,
            "start_utc_ms": message.at.utc_ms,
        }
    if isinstance(message, MeterValues):
        return register_columns(message)
    return {
        "stopped": text_of(message.at),
        "meter_stop_wh": message.meter_stop_wh,
        "stop_reason": str(message.reason),
    }


def register_columns(message: MeterValues) -> dict[str, Any]:
    """The register that MeterValues tell, and when, as columns of the transaction; nothing if they tell none."""
    for value in reversed(message.meter_values):
        for sampled in value.sampled_values:
            wh = _register_wh(sampled)
            if wh is not None:
                at = value.at
                names = ("last_wh", "last_boot_id", "last_boottime_ms", "last_utc_ms")
                return dict(zip(names, (wh, at.boot_id, at.boottime_ms, at.utc_ms), strict=True))
    return {}


def open_transaction(values: tuple[Any, ...], following: tuple[Any, ...] | None) -> CloseLostTransaction | None:
    """A row of `SELECT_OPEN`, and register and moment of the start after it; None if it can't be read any more.

    One of another board has ended with its last reading: nobody knows what a register here has counted since.
    """
    values, taken_in = values[:-1], values[-1]
    local_tx_id, connector_id, id_tag, boot_id, boottime_ms, utc_ms, start_wh, *last, last_number, transaction_id = values
    started = (boot_id, boottime_ms, utc_ms)
    at = started if last[1] is None else tuple(last[1:])
    fields = {
        "local_tx_id": local_tx_id,
        "connector_id": connector_id,
        "id_tag": id_tag,
        "started_at": dict(zip(Moment.__struct_fields__, started, strict=True)),
        "meter_start_wh": start_wh,
        "last_wh": start_wh if last[0] is None else last[0],
        "last_at": dict(zip(Moment.__struct_fields__, at, strict=True)),
        "next_number": (last_number or 0) + 1,
    }
    if taken_in:
        fields["next_start_wh"], fields["next_started_at"] = fields["last_wh"], fields["last_at"]
    elif following is not None:
        fields["next_start_wh"] = following[0]
        fields["next_started_at"] = dict(zip(Moment.__struct_fields__, following[1:], strict=True))
    try:
        fields["transaction_id"] = None if transaction_id is None else int(transaction_id)
        return msgspec.convert(fields, CloseLostTransaction)
    except ValueError:
        return None


def json_text(value: Any) -> str:
    """A value as it stands in a JSON column."""
    return msgspec.json.encode(value).decode()


def _register_wh(sampled: SampledValue) -> int | None:
    """The register in Wh; None: it is another measurand, or not a number that a column can hold (OCPP 1.6 §7.43: a string)."""
    if sampled.measurand is not Measurand.ENERGY_ACTIVE_IMPORT_REGISTER or sampled.phase is not None:
        return None
    try:
        wh = round(float(sampled.value) * (1000 if sampled.unit is UnitOfMeasure.KWH else 1))
    except (ValueError, OverflowError):
        return None
    return wh if abs(wh) <= INTEGER_MAX else None


def _start(columns: _Columns) -> Start:
    if columns.transaction_id is not None:
        return Start.ANSWERED
    return Start.GIVEN_UP if columns.given_up else Start.MISSING


def _anchor(columns: _Columns) -> Moment | None:
    if columns.anchor_boot_id is None or columns.anchor_boottime_ms is None:
        return None
    return Moment(columns.anchor_boot_id, columns.anchor_boottime_ms, columns.anchor_utc_ms)


def _utc_ms(text: str | None) -> int | None:
    """`text_of` read back; ValueError if it is not ours."""
    if text is None:
        return None
    return round(datetime.fromisoformat(text).timestamp() * 1000)
