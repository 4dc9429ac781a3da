"""What bus and disk have seen of remote starts, for the ledger: when each call may be done, was done, and was taken back.

Owns: reading the frames that `connectors` is given, and the rows that it writes. Does not: carry or write them.
"""

import json
from collections.abc import Callable

from bus.codec import CallHeader, decode
from bus.messages import RemoteStartTransaction
from bus.node import Frame
from tests.simulation.ledger import Ledger, RemoteStart

CALL = b"call.connectors.remote_start_transaction."
CANCELLATION = b"cancel.connectors."


def given(ledger: Ledger, frames: list[Frame], boot_s: float) -> None:
    """`connectors` is about to handle these. `boot_s`: true second at which boottime was 0."""
    for name, body in frames:
        if name == CALL:
            header, request = decode(body, CallHeader, RemoteStartTransaction)
            start = RemoteStart(str(request.id_tag), header.deadline_s + boot_s)
            ledger.remote_starts.setdefault(header.call_id, start)


def handled(ledger: Ledger, frames: list[Frame], now_s: float) -> None:
    """`connectors` has handled these, and lives."""
    for name, body in frames:
        if name == CANCELLATION:
            header, _ = decode(body, CallHeader, None)
            start = ledger.remote_starts.get(header.call_id)
            if start is not None:
                start.given_up_s = min(start.given_up_s, now_s)


def written(ledger: Ledger, row: str, now_s: float) -> Callable[[], None]:
    """An authorization that waits is written now; to be called once that is on the disk."""
    call_id = json.loads(row)["call_id"]

    def committed() -> None:
        start = ledger.remote_starts.get(call_id)
        if start is not None:
            start.taken_s = min(start.taken_s, now_s)

    return committed
