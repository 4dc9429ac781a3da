"""The disk: looking at it, the ballast, rotated logs (issue 4, field report 52)."""

import os
import sqlite3
from pathlib import Path

import pytest

from bus.disk import BALLAST_BYTES, MB, Disk, Space, is_full, trouble


def test_the_ballast_takes_real_space_and_gives_it_back(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    assert not disk.has_ballast()
    assert disk.make_ballast()
    assert disk.has_ballast()
    assert os.stat(tmp_path / "ballast").st_blocks * 512 >= BALLAST_BYTES, "a hole would reserve nothing"
    assert disk.release_ballast()
    assert not disk.release_ballast()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_give_the_space_keeps_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert not Disk(str(tmp_path)).make_ballast()
    assert list(tmp_path.iterdir()) == []


def test_rotated_logs_go_the_oldest_first_and_those_in_use_stay(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for age, name in enumerate(["meter.log", "meter.log.1", "rfid.log.1", "meter.log.2"]):
        (tmp_path / "log" / name).write_text("x")
        os.utime(tmp_path / "log" / name, (1000 - age, 1000 - age))
    disk = Disk(str(tmp_path))
    assert [disk.delete_oldest_log() for _ in range(4)] == ["meter.log.2", "rfid.log.1", "meter.log.1", ""]
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["meter.log"]


def test_it_looks_at_the_real_disk(tmp_path: Path) -> None:
    space = Disk(str(tmp_path)).look()
    assert space.free_bytes > 0
    assert not space.read_only


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (Space(32 * MB), ""),
        (Space(32 * MB - 1), "the disk is full but for 31 MB"),
        (Space(0), "the disk is full but for 0 MB"),
        (Space(900 * MB, read_only=True), "the disk is read-only"),
    ],
)
def test_what_is_trouble(space: Space, text: str) -> None:
    assert trouble(space, 32 * MB) == text
    assert trouble(Space(0), 0) == "", "a reserve of 0 switches it off"


def test_a_full_disk_is_told_from_other_errors(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "full.db")
    database.execute("CREATE TABLE t (a TEXT)")
    database.execute("PRAGMA max_page_count = 3")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 4000,)] * 10)
    assert is_full(full.value)
    with pytest.raises(sqlite3.OperationalError) as wrong:
        database.execute("SELECT nothing FROM nowhere")
    assert not is_full(wrong.value)
    assert is_full(OSError(28, "No space left on device"))
    assert not is_full(OSError(2, "No such file"))
