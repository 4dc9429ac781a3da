"""The judge is judged: an honest book is found right, and each way of cooking it is found out, in words that name it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from services.demo.entries import Entry, Kind, What, utc_text
from tests.torture import judge
from tests.torture.evidence import Asked, Charge, Disturbance, Evidence, Plug, PowerUp, Rest, Sample, read_ledger

UTC_OFFSET_S = 1_800_000_000.0


def text(at_s: float) -> str:
    return utc_text(datetime.fromtimestamp(at_s + UTC_OFFSET_S, UTC))


def start(at_s: float, wh: int, tag: str = "A", connector_id: int = 1) -> dict[str, Any]:
    return {"connectorId": connector_id, "idTag": tag, "meterStart": wh, "timestamp": text(at_s)}


def meter_values(at_s: float, wh: int, transaction_id: int, connector_id: int = 1) -> dict[str, Any]:
    sampled = {"value": str(wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
    value = {"timestamp": text(at_s), "sampledValue": [sampled]}
    return {"connectorId": connector_id, "transactionId": transaction_id, "meterValue": [value]}


def stop(at_s: float, wh: int, transaction_id: int, reason: str = "Local") -> dict[str, Any]:
    return {"transactionId": transaction_id, "meterStop": wh, "timestamp": text(at_s), "reason": reason}


class Book:
    """Writes entries as the Central System does. A message and its answer are `took_s` apart."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def call(
        self,
        at_s: float,
        action: str,
        payload: dict[str, Any],
        *,
        uid: str = "",
        connection: int = 1,
        what: What = What.SENT,
        kind: Kind = Kind.CALLRESULT,
        transaction_id: int = 0,
        violations: tuple[str, ...] = (),
    ) -> None:
        unique_id = uid or f"u{len(self.entries)}"
        self._write(at_s, connection, What.RECEIVED, Kind.CALL, unique_id, action, payload, violations)
        answer = {"transactionId": transaction_id} if action == "StartTransaction" else {}
        if kind is Kind.CALLERROR:
            answer = {"code": "InternalError"}
        self._write(at_s + 0.01, connection, what, kind, unique_id, action, answer, ())

    def _write(self, at_s: float, connection: int, what: What, kind: Kind, uid: str, action: str, *rest: Any) -> None:
        payload, violations = rest
        self.entries.append(
            Entry(
                number=len(self.entries) + 1,
                at=text(at_s),
                monotonic_s=at_s,
                connection=connection,
                identity="CP",
                what=what,
                kind=kind,
                unique_id=uid,
                action=action,
                payload=payload,
                violations=violations,
            )
        )


def honest() -> Book:
    """Two sessions on connector 1: 1000 to 1030 Wh, and 1030 to 1050 Wh."""
    book = Book()
    book.call(101.0, "StartTransaction", start(101, 1000), transaction_id=7)
    book.call(104.0, "MeterValues", meter_values(104, 1010, 7))
    book.call(106.0, "MeterValues", meter_values(106, 1020, 7))
    book.call(110.5, "StopTransaction", stop(110, 1030, 7))
    book.call(201.0, "StartTransaction", start(201, 1030, "B"), transaction_id=8)
    book.call(204.0, "MeterValues", meter_values(204, 1040, 8))
    book.call(210.5, "StopTransaction", stop(210, 1050, 8, "EVDisconnected"))
    return book


def evidence(book: Book, **changes: Any) -> Evidence:
    samples = [Sample(1, 100.0 + second, 1000 + 3 * max(0, min(second - 2, 10))) for second in range(20)]
    found = Evidence(
        entries=tuple(book.entries),
        charges=(Charge(1, 102.0, 1000, 110.2, 1030), Charge(1, 202.0, 1030, 209.9, 1050)),
        plugs=(Plug(1, 99, True), Plug(1, 111, False), Plug(1, 199, True), Plug(1, 209.9, False)),
        asked=(Asked(1, 100.0, "A"), Asked(1, 200.0, "B")),
        disturbances=(),
        samples=tuple(samples),
        first_wh={1: 1000},
        last_wh={1: 1050},
        utc_offset_s=UTC_OFFSET_S,
        sample_interval_s=2.0,
        attempts_max=3,
    )
    return msgspec.structs.replace(found, **changes)


def found(book: Book, **changes: Any) -> list[str]:
    return judge.differences(evidence(book, **changes))


def cooked(change: Callable[[list[Entry]], None]) -> Book:
    book = honest()
    change(book.entries)
    return book


def of_action(entries: list[Entry], action: str, *, last: bool = False) -> list[int]:
    """Places of a message and its answer."""
    ids = [entry.unique_id for entry in entries if entry.action == action and entry.kind is Kind.CALL]
    wanted = ids[-1] if last else ids[0]
    return [index for index, entry in enumerate(entries) if entry.unique_id == wanted]


def without(action: str, *, last: bool = False) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        for index in reversed(of_action(entries, action, last=last)):
            del entries[index]

    return change


def with_payload(action: str, **fields: Any) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        index = of_action(entries, action)[0]
        entries[index] = msgspec.structs.replace(entries[index], payload={**entries[index].payload, **fields})

    return change


def test_an_honest_book_is_found_right() -> None:
    assert found(honest()) == []
    assert judge.counted(evidence(honest())) == (2, 7, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("StopTransaction"), "0 different StopTransactions"),
        (without("StartTransaction"), "belongs to no transaction"),
        (without("StartTransaction"), "energy not billed"),
        (with_payload("StopTransaction", meterStop=1029), "energy not billed: 1 Wh"),
        (with_payload("StopTransaction", meterStop=1031), "energy billed twice: 1 Wh"),
        (with_payload("StartTransaction", meterStart=1001), "energy not billed: 1 Wh before any transaction"),
        (with_payload("StartTransaction", meterStart=1001), "no single transaction has that"),
        (with_payload("StartTransaction", idTag="C"), "energy was asked for with it 0 times"),
        (with_payload("StartTransaction", idTag="B"), "2 transactions of B"),
        (with_payload("StartTransaction", timestamp=text(80)), "before anybody asked"),
        (with_payload("StopTransaction", timestamp=text(100)), "stops before it starts"),
        (with_payload("StopTransaction", timestamp=text(130)), "from when its contactor opened"),
        (with_payload("StopTransaction", timestamp=text(215)), "starts before"),
        (with_payload("MeterValues", meterValue=meter_values(104, 1035, 7)["meterValue"]), "its register goes back"),
        (with_payload("MeterValues", meterValue=meter_values(107, 1010, 7)["meterValue"]), "not in the order of their times"),
        (with_payload("MeterValues", transactionId=9), "belongs to no transaction"),
    ],
)
def test_a_cooked_book_is_found_out(change: Callable[[list[Entry]], None], words: str) -> None:
    assert any(words in line for line in found(cooked(change))), found(cooked(change))


def test_messages_out_of_order_are_found() -> None:
    def swapped(entries: list[Entry]) -> None:
        stop_at, sample_at = of_action(entries, "StopTransaction"), of_action(entries, "MeterValues")
        moved = [entries[index] for index in stop_at]
        for index in reversed(stop_at):
            del entries[index]
        entries[sample_at[0] : sample_at[0]] = moved
        entries[:] = [msgspec.structs.replace(entry, number=number) for number, entry in enumerate(entries, 1)]

    assert any("out of order" in line for line in found(cooked(swapped)))


def test_a_second_stop_with_other_words_is_found() -> None:
    book = honest()
    book.call(111.0, "StopTransaction", stop(110.3, 1030, 7))
    assert any("2 different StopTransactions" in line for line in found(book))


def test_a_message_that_was_never_processed_is_found() -> None:
    book = honest()
    without("StopTransaction", last=True)(book.entries)
    book.call(210.5, "StopTransaction", stop(210, 1050, 8, "EVDisconnected"), kind=Kind.CALLERROR)
    assert any("never processed" in line for line in found(book))


def test_a_contactor_that_was_closed_for_nobody_is_found() -> None:
    """Also where no energy flowed."""
    stray = Charge(1, 150.0, 1030, 151.0, 1035)
    charges = evidence(honest()).charges
    lines = found(honest(), charges=(charges[0], stray, charges[1]))
    assert any("no single transaction has that" in line for line in lines)
    early = Charge(1, 50.0, 1000, 51.0, 1000)
    assert any("no single transaction" in line for line in found(honest(), charges=(early, *charges)))


def test_what_is_left_behind_is_found() -> None:
    for rest, words in (
        (Rest(queued=2), "2 messages are still in the queue"),
        (Rest(dead_letters=1), "1 dead letters"),
        (Rest(quarantined=1), "quarantine"),
        (Rest(open_transactions=1), "still open in connectors.db"),
        (Rest(kept_entries=3), "3 journal entries"),
    ):
        assert any(words in line for line in found(honest(), rest=rest))


def test_what_the_central_system_complains_of_is_found() -> None:
    book = honest()
    book.call(300.0, "StatusNotification", {}, violations=("not in the schema",))
    assert found(book) == ["the Central System complains of entry 15, StatusNotification {}: not in the schema"]


def test_a_charge_without_meter_values_is_found_unless_their_way_was_cut() -> None:
    book = Book()
    book.call(101.0, "StartTransaction", start(101, 1000), transaction_id=7)
    book.call(130.5, "StopTransaction", stop(130, 1050, 7))
    changes: dict[str, Any] = {"charges": (Charge(1, 102.0, 1000, 130.2, 1050),), "asked": (Asked(1, 100.0, "A"),)}
    assert any("without MeterValues" in line for line in found(book, **changes))
    killed = (Disturbance("kill", "meter", 110.0, 113.0),)
    assert found(book, disturbances=killed, **changes) == []


class TestRepeats:
    """Design §7: identical, and something fell between receipt and commit."""

    def again(self, *, uid: str = "same", connection: int = 2, what: What = What.SENT, kind: Kind = Kind.CALLRESULT) -> Book:
        book = honest()
        without("StopTransaction", last=True)(book.entries)
        payload = stop(210, 1050, 8, "EVDisconnected")
        book.call(210.5, "StopTransaction", payload, uid="same", what=what, kind=kind)
        book.call(212.0, "StopTransaction", payload, uid=uid, connection=connection)
        return book

    def test_a_repeat_for_nothing_is_a_double(self) -> None:
        assert any("doubled" in line for line in found(self.again()))
        assert judge.counted(evidence(self.again()))[2] == 1

    @pytest.mark.parametrize("who", ["transaction_queue", "ocpp_link", "broker"])
    def test_a_death_between_receipt_and_commit_allows_it(self, who: str) -> None:
        assert found(self.again(), disturbances=(Disturbance("kill", who, 210.6, 211.5),)) == []

    def test_the_death_of_who_has_no_part_in_it_does_not(self) -> None:
        killed = (Disturbance("kill", "rfid", 210.6, 211.5),)
        assert any("doubled" in line for line in found(self.again(), disturbances=killed))

    def test_a_death_long_after_the_commit_does_not(self) -> None:
        late = (Disturbance("kill", "transaction_queue", 210.52 + 4.0, 216.0),)
        assert any("doubled" in line for line in found(self.again(), disturbances=late))

    def test_the_end_of_the_connection_in_between_allows_it(self) -> None:
        book = self.again()
        closed = Entry(0, "", 211.0, 1, "CP", What.CLOSED)
        assert judge.differences(evidence(book, entries=(*book.entries, closed))) == []

    def test_a_central_system_that_failed_or_hid_its_answer_gets_it_again(self) -> None:
        assert found(self.again(uid="new", connection=1, kind=Kind.CALLERROR)) == []
        assert found(self.again(what=What.WITHHELD)) == []
        assert found(self.again(what=What.DROPPED, kind=Kind.NONE)) == []

    def test_on_another_connection_the_unique_id_stays(self) -> None:
        """Design §4.10."""
        killed = (Disturbance("kill", "transaction_queue", 210.6, 211.5),)
        assert any("not recognisable" in line for line in found(self.again(uid="other"), disturbances=killed))
        cut = self.again(uid="other", what=What.WITHHELD)
        closed = Entry(0, "", 210.6, 1, "CP", What.CLOSED)
        assert any("not recognisable" in line for line in found(cut, entries=(*cut.entries, closed)))

    def test_after_a_silence_it_may_be_another(self) -> None:
        """To the station that was a failure, and on the same connection OCPP-J wants a new id."""
        assert found(self.again(uid="other", what=What.WITHHELD)) == []


class TestShortfalls:
    """The three rules under which a stop may fall short of the register, each only as far as it goes."""

    def short(self, wh: int, reason: str) -> Book:
        return cooked(with_payload("StopTransaction", meterStop=wh, reason=reason))

    def test_another_plug_in_while_connectors_was_dead(self) -> None:
        plugs = (Plug(1, 99, True), Plug(1, 110.2, False), Plug(1, 110.4, True), Plug(1, 199, True))
        killed = (Disturbance("kill", "connectors", 110.0, 112.0),)
        assert found(self.short(1024, "EVDisconnected"), plugs=plugs, disturbances=killed) == []
        assert any("not billed" in line for line in found(self.short(1024, "Local"), plugs=plugs, disturbances=killed))
        assert any("not billed" in line for line in found(self.short(1024, "EVDisconnected"), disturbances=killed))
        assert any("not billed" in line for line in found(self.short(1024, "EVDisconnected"), plugs=plugs))

    def test_a_fallback_is_no_older_than_the_rule_wants(self) -> None:
        """The register stood at 1018 Wh at 108 s, ten seconds before this meter died."""
        killed = (Disturbance("kill", "meter", 117.5, 119.0),)
        changes: dict[str, Any] = {
            "charges": (Charge(1, 102.0, 1000, 118.0, 1030), Charge(1, 202.0, 1030, 209.9, 1050)),
            "disturbances": killed,
        }
        late = [with_payload("StopTransaction", meterStop=wh, timestamp=text(118)) for wh in (1018, 1017)]
        assert not any("not billed" in line for line in found(cooked(late[0]), **changes))
        assert any("not billed" in line for line in found(cooked(late[1]), **changes))

    def test_a_checkpoint_counts_only_if_no_reading_came_after_the_power_cut(self) -> None:
        power = Disturbance("power", "station", 110.2, 115.0)
        without_more = found(self.short(1020, "PowerLoss"))
        assert any("not billed" in line for line in without_more)
        assert found(self.short(1020, "PowerLoss"), disturbances=(power,)) != []
        again = Disturbance("kill", "meter", 116.0, 118.0)
        assert found(self.short(1020, "PowerLoss"), disturbances=(power, again)) == []


def test_a_transaction_that_goes_on_with_another_car_is_found() -> None:
    """Design §2: another plug-in closes the old transaction; it is never resumed."""
    charges = (Charge(1, 102.0, 1000, 106.0, 1012), Charge(1, 107.5, 1012, 110.2, 1030), evidence(honest()).charges[1])
    plugs = (Plug(1, 99, True), Plug(1, 106.0, False), Plug(1, 106.2, True), Plug(1, 111, False), Plug(1, 199, True))
    assert any("another plug-in" in line for line in found(honest(), charges=charges, plugs=plugs))
    young = Disturbance("kill", "connectors", 105.9, 109.0)
    assert found(honest(), charges=charges, plugs=plugs, disturbances=(young,)) == [], "1.5 s are more than the disk knew"
    old = (msgspec.structs.replace(charges[0], closed_s=82.0), *charges[1:])
    lines = found(honest(), charges=old, plugs=plugs, disturbances=(young,))
    assert any("another plug-in" in line for line in lines), "24 s are on the disk, and the other car has charged for 1.5 s"
    paused = (Plug(1, 99, True), Plug(1, 111, False), Plug(1, 199, True))
    assert found(honest(), charges=charges, plugs=paused) == []


def test_the_ledger_is_read_with_its_power_cuts() -> None:
    """A contactor that was closed when the power went is open at the register that is found when it comes back."""
    lines = [
        {"kind": "plugged", "boottime_s": 1010.0, "connector_id": 1},
        {"kind": "relay-closed", "boottime_s": 1011.0, "connector_id": 1, "register_wh": 100.4},
        {"kind": "relay-closed", "boottime_s": 1030.0, "connector_id": 1, "register_wh": 120.0},
        {"kind": "relay-opened", "boottime_s": 1031.0, "connector_id": 1, "register_wh": 121.6},
    ]
    charges, plugs = read_ledger(lines, [PowerUp(20.0, 25.0, {1: 120})], boottime_offset_s=1000.0)
    assert charges == (Charge(1, 11.0, 100, 20.0, 120), Charge(1, 30.0, 120, 31.0, 122))
    assert plugs == (Plug(1, 10.0, True),)
