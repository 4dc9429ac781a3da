"""A board is taken away while a car charges, and another one goes on with what it had (issue 4)."""

from pathlib import Path

import pytest

from tests.acceptance.rig import rig
from tests.harness import Station, wait_until

pytestmark = pytest.mark.process


def test_what_ran_on_the_old_board_is_stopped_once_by_the_new_one(tmp_path: Path) -> None:
    """Stopped while a car charges, exported, taken in by a board that was never started: one stop, at the last reading."""
    with rig(state_dir=tmp_path / "old") as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.central_system.wait_for(lambda book: len(book.calls("MeterValues")) >= 2, 20, "two readings")
        one.station.stop()
        checked = one.station.command("queue", "check")
        assert (checked.returncode, checked.stdout[:10]) == (1, "NOT EMPTY:")
        assert "still open" in checked.stdout
        file = str(tmp_path / "export.json")
        assert one.station.command("queue", "export", file).returncode == 0
        new = Station(one.station.config_path.read_text(encoding="utf-8"), state_dir=tmp_path / "new")
        done = new.command("queue", "import", file)
        assert "1 transactions were still open" in done.stdout, done.stderr
        with new:
            (transaction,) = one.finished()
            assert new.command("queue", "import", file).stdout.startswith("0 messages taken in")
            wait_until(lambda: new.command("queue", "check").returncode == 0, 20, "the Central System has everything")
        book = one.central_system.book
        (stop,) = book.calls("StopTransaction")
        assert stop.payload["transactionId"] == transaction.transaction_id
        assert len(book.calls("StartTransaction")) == 1
        last = max(int(float(v["value"])) for call in book.calls("MeterValues") for v in _registers(call.payload))
        assert transaction.meter_start_wh == before_wh
        assert transaction.meter_stop_wh is not None
        assert transaction.meter_stop_wh >= last
        assert book.violations() == []


def _registers(payload: dict) -> list[dict]:  # type: ignore[type-arg]
    sampled = [value for one in payload["meterValue"] for value in one["sampledValue"]]
    return [value for value in sampled if value.get("measurand", "").endswith("Import.Register")]
