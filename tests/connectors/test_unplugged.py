"""Another car that was plugged in under the guard's eyes, while the service was away (design §2 "connectors down")."""

import logging
from pathlib import Path

import msgspec
import pytest

from bus.logs import logger
from bus.vocabulary import Reason, ResetType
from services.connectors import events as e
from services.connectors import orphans, unplugged
from services.connectors.state import Finished, Settings
from services.hardware.contract import EvseObservation
from tests.connectors.bench import Bench, charging

STAYS = Settings(stop_transaction_on_ev_side_disconnect=False)


def begun(**options: object) -> Bench:
    """A transaction of TAG in which nothing is charged: the controller's counters stand at nothing."""
    bench = Bench(**options)  # type: ignore[arg-type]
    bench.plants[1].wants_energy = False
    bench.plug_in()
    bench.card()
    bench.advance(3)
    bench.deliver_start()
    assert len(bench.transactions) == 1
    return bench


def finished() -> Bench:
    """The transaction of `begun` is over, the plug is still in."""
    bench = begun()
    bench.remote_stop(7)
    bench.advance(3)
    assert bench.status() == "Finishing"
    return bench


@pytest.mark.parametrize("settings", [Settings(), STAYS], ids=["stops", "stays"])
def test_another_car_does_not_charge_on_the_card_of_the_one_before(settings: Settings) -> None:
    """OCPP 1.6 §4.10, and with StopTransactionOnEVSideDisconnect false too, as where counters began anew.

    Found by simulation (seed 46550): counters that stand at nothing fit any plug-in.
    """
    bench = begun(settings=settings)
    committed = bench.audit.store.load().transactions[0].last
    bench.leave_to_guard()
    bench.plants[1].wants_energy = True
    bench.advance(5)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh, stop.at) == (Reason.EV_DISCONNECTED, committed.energy_wh, committed.at)
    assert bench.status() == "Preparing"
    assert not bench.plants[1].desired.energy_allowed
    details = [note.detail for note in bench.effects if isinstance(note, e.Note) and "another plug-in" in note.text]
    assert details == ["the plug was seen out, or could not be seen for too long"]


def test_without_the_guard_a_plug_that_is_in_is_the_same_one() -> None:
    """Choice of `same_session`: an absence shorter than the grace ends nobody's session."""
    bench = begun()
    bench.restart()
    bench.advance(3)
    bench.plants[1].wants_energy = True
    bench.advance(3)
    assert bench.status() == "Charging"
    assert len(bench.transactions) == 1


def test_what_the_guard_saw_before_a_transaction_began_says_nothing_of_it() -> None:
    """The file stays until the next boot."""
    bench = Bench()
    bench.seen_unplugged[1] = bench.now_s
    bench.advance(1)
    bench.plug_in()
    bench.card()
    bench.advance(10)
    bench.restart()
    bench.advance(3)
    assert bench.status() == "Charging"
    assert len(bench.transactions) == 1


def test_another_connector_goes_on() -> None:
    bench = Bench(2)
    for number, id_tag in ((1, "TAG"), (2, "NEXT")):
        bench.plug_in(number)
        bench.card(id_tag)
        bench.advance(5)
    bench.leave_to_guard()
    bench.advance(5)
    assert (bench.status(1), bench.status(2)) == ("Preparing", "Charging")


def test_it_still_counts_when_the_service_dies_again_before_the_controller_has_spoken() -> None:
    bench = begun()
    bench.plants[1].answers = False
    bench.leave_to_guard()
    bench.advance(3)
    assert bench.connector().transaction is not None
    bench.plants[1].answers = True
    bench.restart()
    bench.advance(3)
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED


def test_a_plug_that_is_still_out_ends_its_transaction_with_a_reading_of_now() -> None:
    """Nobody else is there: what flowed until the guard withdrew energy is billed to whom it was for."""
    bench = charging()
    bench.advance(20)
    committed = bench.audit.store.load().transactions[0].last
    bench.leave_to_guard(another_car=False)
    bench.advance(3)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh) == (Reason.EV_DISCONNECTED, int(bench.plants[1].register_wh))
    assert stop.meter_stop_wh > committed.energy_wh
    assert bench.status() == "Available"


def test_a_transaction_that_outlives_its_plug_is_not_ended_by_an_old_note() -> None:
    """OCPP 1.6 §4.10, StopTransactionOnEVSideDisconnect false: readings were committed after the note."""
    bench = begun(settings=STAYS)
    bench.leave_to_guard(another_car=False)
    bench.advance(3)
    bench.plug_in()
    bench.advance(70)
    bench.restart()
    bench.advance(3)
    assert bench.connector().ongoing is not None
    assert len(bench.transactions) == 1


def test_a_stop_that_was_under_way_keeps_its_reason() -> None:
    bench = begun()
    bench.plants[1].meter_answers = False
    bench.card()
    bench.leave_to_guard()
    bench.plants[1].meter_answers = True
    bench.advance(8)
    assert bench.stop_message().reason == Reason.LOCAL


def test_another_car_is_not_taken_for_one_that_has_finished() -> None:
    """OCPP 1.6 §4.9: Preparing, not Finishing."""
    bench = finished()
    bench.leave_to_guard()
    bench.advance(3)
    assert bench.status() == "Preparing"
    assert bench.audit.store.load().finished == {}


def test_another_car_is_not_taken_for_one_that_nobody_presented_a_card_for() -> None:
    """OCPP 1.6 §4.9, B6."""
    bench = Bench(settings=Settings(connection_time_out_s=20))
    bench.plug_in()
    bench.advance(25)
    assert bench.status() == "Finishing"
    bench.leave_to_guard()
    bench.advance(3)
    assert bench.status() == "Preparing"


def test_another_car_is_not_taken_for_one_that_was_finished_by_a_controller_that_was_not_heard() -> None:
    """Its stop was not the last that was known of the plug."""
    bench = begun()
    bench.plants[1].answers = False
    bench.leave_to_guard()
    bench.card()
    bench.advance(12)
    assert bench.stop_message().reason == Reason.LOCAL
    bench.plants[1].answers = True
    bench.advance(3)
    assert bench.status() == "Preparing"


def test_another_car_is_not_taken_for_one_that_had_finished_in_an_earlier_boot() -> None:
    """Whatever the boottimes are: all of this boot is later."""
    bench = finished()
    bench.power_cut()
    bench.advance(3)
    assert bench.status() == "Finishing"
    bench.leave_to_guard()
    bench.advance(3)
    assert bench.status() == "Preparing"


def test_one_that_has_finished_since_is_finished() -> None:
    bench = Bench()
    bench.seen_unplugged[1] = bench.now_s
    bench.advance(1)
    bench.plug_in()
    bench.card()
    bench.advance(5)
    bench.reset(ResetType.SOFT)
    bench.advance(3)
    bench.restart()
    bench.advance(3)
    assert bench.status() == "Finishing"


def test_one_that_an_older_release_wrote_is_known_by_its_counters_alone() -> None:
    """It did not note when."""
    bench = finished()
    body = msgspec.json.decode(bench.database.execute("SELECT body FROM finished").fetchone()[0])
    del body["known_at"]
    assert msgspec.convert(body, Finished).known_at is None
    with bench.database:
        bench.database.execute("UPDATE finished SET body = ?", (msgspec.json.encode(body).decode(),))
    bench.leave_to_guard()
    bench.advance(3)
    assert bench.status() == "Finishing"


@pytest.mark.parametrize(
    ("before", "seen", "newly"),
    [
        (None, False, True),
        (True, False, True),
        (False, False, False),
        (None, None, False),
        (False, None, False),
        (False, True, False),
    ],
)
def test_a_plug_is_newly_out_if_it_was_in_or_not_known(before: bool | None, seen: bool | None, newly: bool) -> None:
    assert orphans.is_newly_unplugged(observed(before), observed(seen)) is newly


def test_a_plug_that_is_out_at_the_first_look_is_newly_out() -> None:
    assert orphans.is_newly_unplugged(None, observed(False))


def observed(plugged: bool | None) -> EvseObservation:
    return EvseObservation("A", plugged, False, False, 6.0)


def test_the_file_has_what_was_noted_of_each_connector(tmp_path: Path) -> None:
    """A guard that follows another one adds to it."""
    path = str(tmp_path / unplugged.FILE)
    assert unplugged.read(path, "boot-1", logger("test")) == {}
    unplugged.add(path, "boot-1", {1: 100.5, 2: 101.0}, logger("test"))
    unplugged.add(path, "boot-1", {1: 200.0}, logger("test"))
    assert unplugged.read(path, "boot-1", logger("test")) == {1: 200.0, 2: 101.0}
    assert [file.name for file in tmp_path.iterdir()] == [unplugged.FILE]


def test_the_file_of_another_boot_says_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / unplugged.FILE)
    unplugged.add(path, "boot-1", {1: 100.0, 2: 100.0}, logger("test"))
    assert unplugged.read(path, "boot-2", logger("test")) == {}
    unplugged.add(path, "boot-2", {2: 5.0}, logger("test"))
    assert unplugged.read(path, "boot-2", logger("test")) == {2: 5.0}


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b'{"boot_id":"boot-1","seen_s":{"1":5', b'{"boot_id":"boot-1","seen_s":{"one":5}}', b"[]"]
)
def test_a_damaged_file_says_nothing_and_one_line_tells_of_it(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / unplugged.FILE).write_bytes(content)
    path = str(tmp_path / unplugged.FILE)
    with caplog.at_level(logging.INFO):
        assert unplugged.read(path, "boot-1", logger("test")) == {}
    assert len(caplog.records) == 1
    unplugged.add(path, "boot-1", {1: 6.0}, logger("test"))
    assert unplugged.read(path, "boot-1", logger("test")) == {1: 6.0}
