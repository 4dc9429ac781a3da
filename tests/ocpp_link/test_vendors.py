"""DataTransfer from the Central System (OCPP 1.6 §4.3, §5.6, §6.15, §7.23)."""

import pytest

from bus.vocabulary import DataTransferStatus
from services.ocpp_link import vendors
from services.ocpp_link.payloads import DataTransferConf, DataTransferReq


def _echo(data: str | None) -> DataTransferConf:
    return DataTransferConf(status=DataTransferStatus.ACCEPTED, data=data)


def _refuse(_: str | None) -> DataTransferConf:
    return DataTransferConf(status=DataTransferStatus.REJECTED)


TABLE = {"org.example": {"Echo": _echo, "": _refuse}}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (DataTransferReq(vendor_id="com.other", message_id="Echo", data="x"), ("UnknownVendorId", None)),
        (DataTransferReq(vendor_id="org.example", message_id="Other", data="x"), ("UnknownMessageId", None)),
        (DataTransferReq(vendor_id="ORG.example", message_id="echo", data="x" * 5000), ("Accepted", "x" * 5000)),
        (DataTransferReq(vendor_id="org.example", message_id="Echo"), ("Accepted", None)),
        (DataTransferReq(vendor_id="org.example", data="x"), ("Rejected", None)),
    ],
)
def test_a_vendor_s_message_is_answered_by_the_table(request_: DataTransferReq, expected: tuple[str, str | None]) -> None:
    """For an unknown vendor the data element SHALL not be present; ids are CiStrings."""
    conf, _ = vendors.answer(request_, TABLE)
    assert (conf.status, conf.data) == expected


def test_this_station_knows_no_vendor() -> None:
    """The certificate has none."""
    conf, reason = vendors.answer(DataTransferReq(vendor_id="org.example"))
    assert (conf.status, bool(reason)) == ("UnknownVendorId", True)
