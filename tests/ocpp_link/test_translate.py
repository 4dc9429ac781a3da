"""From the bus's messages to OCPP's payloads: valid by the schemas of the independent `ocpp` package (field report §2.1)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import messages as m
from bus.vocabulary import (
    AuthorizationStatus,
    ChargePointErrorCode,
    ChargePointStatus,
    Location,
    Measurand,
    Phase,
    ReadingContext,
    Reason,
    UnitOfMeasure,
)
from services.configuration.model import Station
from services.demo import schemas
from services.ocpp_link import translate
from services.ocpp_link.actions import encode
from services.ocpp_link.payloads import AuthorizeConf, IdTagInfo, Req, StopTransactionConf

MOMENTS = st.builds(m.Moment, st.just("boot"), st.integers(0, 10**12), st.integers(0, 4 * 10**12))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=80)
ID_TAGS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
SAMPLES = st.builds(
    m.SampledValue,
    st.integers(-(10**9), 10**9).map(str),
    st.sampled_from(ReadingContext),
    st.sampled_from(Measurand),
    st.none() | st.sampled_from(UnitOfMeasure),
    st.none() | st.sampled_from(Phase),
    st.sampled_from(Location),
)
VALUES = st.lists(st.builds(m.MeterValue, MOMENTS, st.lists(SAMPLES, max_size=3).map(tuple)), max_size=3).map(tuple)
CONNECTORS = st.integers(1, 16)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
MESSAGES = st.one_of(
    st.builds(m.StartTransaction, CONNECTORS, ID_TAGS, INTEGERS, MOMENTS, st.none() | INTEGERS),
    st.builds(m.MeterValues, CONNECTORS, VALUES),
    st.builds(m.StopTransaction, CONNECTORS, INTEGERS, MOMENTS, st.sampled_from(Reason), st.none() | ID_TAGS, VALUES),
)
STATES = st.builds(
    m.ConnectorState,
    st.integers(0, 16),
    st.sampled_from(ChargePointStatus),
    st.builds(m.Moment, st.just("boot"), st.integers(0, 10**12), st.none() | st.integers(0, 4 * 10**12)),
    st.sampled_from(ChargePointErrorCode),
    TEXTS,
    TEXTS,
)


def payload(req: Req) -> dict[str, Any]:
    """The payload, valid by its schema."""
    found: dict[str, Any] = msgspec.json.decode(encode(req))
    assert schemas.violation(2, type(req).__name__.removesuffix("Req"), found) == ""
    return found


@given(MESSAGES, INTEGERS)
def test_each_transaction_message_that_can_be_sent_is_valid_and_always_the_same(
    message: m.TransactionMessage, transaction_id: int
) -> None:
    """Field report 16: byte for byte."""
    request = m.Deliver("id-1", message, None if isinstance(message, m.StartTransaction) else transaction_id)
    if translate.why_unsendable(request):
        assert isinstance(message, m.MeterValues)
        return
    payload(translate.transaction_request(request))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=m.Deliver)
    assert encode(translate.transaction_request(again)) == encode(translate.transaction_request(request))


@given(STATES, TEXTS, st.none() | st.floats(0, 2 * 10**9))
def test_each_status_is_valid(state: m.ConnectorState, vendor: str, utc_offset_s: float | None) -> None:
    found = payload(translate.status_notification(state, vendor, utc_offset_s))
    assert ("timestamp" in found) == (state.at.utc_ms is not None or utc_offset_s is not None)
    assert ("vendorId" in found) <= bool(state.vendor_error_code)


def test_a_status_bears_its_moment_by_the_clock_that_is_believed_now() -> None:
    """Field report 28: what connectors wrote before the Central System told the time may be wrong."""
    state = m.ConnectorState(1, ChargePointStatus.AVAILABLE, m.Moment("b", 5_000, 1_600_000_000_000))
    assert payload(translate.status_notification(state, "V", 1_800_000_000.0))["timestamp"] == "2027-01-15T08:00:05.000Z"
    assert payload(translate.status_notification(state, "V", None))["timestamp"] == "2020-09-13T12:26:40.000Z"


@given(st.builds(Station, identity=TEXTS, vendor=ID_TAGS, model=ID_TAGS, serial_number=st.text(max_size=25)))
def test_each_boot_notification_is_valid_and_has_no_empty_field(station: Station) -> None:
    """Field report §2.7."""
    assert all(payload(translate.boot_notification(station)).values())


def test_the_reason_is_written_out_even_where_it_is_the_default() -> None:
    """OCPP 1.6 §4.10: an absent reason means Local; Central Systems differ."""
    message = m.StopTransaction(1, 5, m.Moment("b", 0, 0), Reason.LOCAL)
    found = payload(translate.transaction_request(m.Deliver("i", message, 0)))
    assert found == {"transactionId": 0, "meterStop": 5, "timestamp": "1970-01-01T00:00:00.000Z", "reason": "Local"}


def test_no_placeholder_ever_stands_for_a_transaction_id() -> None:
    """Field report 2; errata v4.0 3.18: -1 only where the queue says so."""
    message = m.StopTransaction(1, 5, m.Moment("b", 0, 0), Reason.LOCAL)
    assert translate.why_unsendable(m.Deliver("i", message)) == "it has no transactionId"
    assert translate.why_unsendable(m.Deliver("i", message, -1)) == ""


@pytest.mark.parametrize(
    ("text", "utc_ms"), [("2027-01-15T08:00:00Z", 1_800_000_000_000), ("soon", None), ("", None), (None, None)]
)
def test_id_tag_info(text: str | None, utc_ms: int | None) -> None:
    """OCPP 1.6 §7.27; an empty parentIdTag is none."""
    conf = AuthorizeConf(id_tag_info=IdTagInfo(status=AuthorizationStatus.EXPIRED, expiry_date=text, parent_id_tag=""))
    assert translate.id_tag_info(conf) == m.IdTagInfo(AuthorizationStatus.EXPIRED, utc_ms, None)
    assert translate.id_tag_info(StopTransactionConf()) is None
