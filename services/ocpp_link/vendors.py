"""DataTransfer: messages of a vendor's own that this station understands (pure; OCPP 1.6 §3.12, §4.3, §5.6).

Owns: the table of vendors, and the answer to a vendor or message that is not in it. A vendor's message gets its line here:
vendorId (a reversed domain name), messageId ("" where its requests have none), and the function that answers its data. The
certified station has none.

Choice: no DataTransfer is ever sent. OCPP 1.6 §4.3 has it for functions that OCPP does not support, and this firmware has
no such function; what it has to say, a message of the Core profile says.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from bus.vocabulary import DataTransferStatus
from services.ocpp_link.payloads import DataTransferConf, DataTransferReq

T = TypeVar("T")
Answer = Callable[[str | None], DataTransferConf]
"""From the request's data to the whole response, which vendor and operator have agreed upon."""
Vendors = Mapping[str, Mapping[str, Answer]]
"""By vendorId and messageId."""

VENDORS: Vendors = {}


def answer(req: DataTransferReq, vendors: Vendors = VENDORS) -> tuple[DataTransferConf, str]:
    """The response, and in plain words why it refuses. Ids are CiStrings: compared without case (OCPP 1.6 §6.15)."""
    messages = _found(vendors, req.vendor_id)
    if messages is None:
        return DataTransferConf(status=DataTransferStatus.UNKNOWN_VENDOR_ID), "no messages of this vendor are known here"
    handler = _found(messages, req.message_id or "")
    if handler is None:
        return DataTransferConf(status=DataTransferStatus.UNKNOWN_MESSAGE_ID), "this vendor has no such message here"
    return handler(req.data), ""


def _found(table: Mapping[str, T], name: str) -> T | None:
    return next((value for known, value in table.items() if known.casefold() == name.casefold()), None)
