"""What the virtual hardware leaves on disk, on good disks and bad ones."""

import json
import logging
from pathlib import Path

import pytest

from bus.logs import Logger
from services.simulator.board import Eeprom
from services.simulator.circuit import Register
from services.simulator.storage import LEDGER_BYTES_MAX, Storage
from services.simulator.world import Event


def storage(path: Path) -> Storage:
    return Storage(str(path), Logger("simulator"))


def test_a_register_comes_back_exactly(tmp_path: Path) -> None:
    register = Register(wh=123456.7890123, serial=77)
    storage(tmp_path).save_register(1, register)
    assert storage(tmp_path).register(1) == register


def test_new_meters_have_serial_numbers_of_their_own(tmp_path: Path) -> None:
    first, second = storage(tmp_path).register(1), storage(tmp_path).register(2)
    assert (first.wh, second.wh) == (0.0, 0.0)
    assert first.serial != second.serial


def test_an_eeprom_comes_back(tmp_path: Path) -> None:
    eeprom = Eeprom(current_a=20, gfi_trips=3)
    storage(tmp_path).save_eeprom(1, eeprom)
    assert storage(tmp_path).eeprom(1, Eeprom(current_a=32)) == eeprom
    assert storage(tmp_path).eeprom(2, Eeprom(current_a=32)) == Eeprom(current_a=32)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"wh": "x", "serial": 1}', b'{"wh": -1, "serial": 1}', b"\xff" * 20000]
)
def test_a_spoilt_register_file_means_a_new_meter(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "meter-1.json").write_bytes(content)
    assert storage(tmp_path).register(1).wh == 0.0


def test_nothing_is_written_that_has_not_changed(tmp_path: Path) -> None:
    kept = storage(tmp_path)
    kept.save_register(1, Register(wh=1.0, serial=1))
    (tmp_path / "meter-1.json").unlink()
    kept.save_register(1, Register(wh=1.0, serial=1))
    assert not (tmp_path / "meter-1.json").exists()


def test_the_ledger_has_one_line_an_event_with_both_times(tmp_path: Path) -> None:
    kept = storage(tmp_path)
    kept.record(Event("plugged", 12.5, 1, 3.25))
    kept.record(Event("swiped", 13.0, detail="TAG"))
    kept.close()
    first, second = map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines())
    assert first.pop("utc").endswith("Z")
    assert first == {"kind": "plugged", "boottime_s": 12.5, "connector_id": 1, "register_wh": 3.25}
    assert second["detail"] == "TAG"


def test_the_ledger_is_bounded_by_one_older_file(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b"x" * LEDGER_BYTES_MAX)
    kept = storage(tmp_path)
    kept.record(Event("plugged", 1.0, 1, 0.0))
    kept.record(Event("unplugged", 2.0, 1, 0.0))
    kept.close()
    assert (tmp_path / "ledger.jsonl.1").stat().st_size > LEDGER_BYTES_MAX
    assert json.loads((tmp_path / "ledger.jsonl").read_text())["kind"] == "unplugged"


def test_a_disk_that_takes_nothing_is_logged_once_per_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("meter-1.json.new", "ledger.jsonl"):
        (tmp_path / name).mkdir()
    kept = storage(tmp_path)
    with caplog.at_level(logging.INFO):
        for second in range(3):
            kept.save_register(1, Register(wh=float(second), serial=1))
            kept.record(Event("plugged", float(second)))
    assert [record.__dict__["fields"]["file"] for record in caplog.records] == ["meter-1.json", "ledger.jsonl"]
    (tmp_path / "meter-1.json.new").rmdir()
    kept.save_register(1, Register(wh=9.0, serial=1))
    assert storage(tmp_path).register(1).wh == 9.0
