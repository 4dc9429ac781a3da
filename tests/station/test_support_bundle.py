"""`station support-bundle`: everything that somebody far away needs, from a station in any state (issue 7)."""

import json
import random
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.station import masking, quiet_database, support_bundle
from services.transaction_queue import handover
from tests.acceptance.rig import TAG, rig
from tests.harness import config, wait_until
from tests.station.conftest import StandInStation


def unpacked(path: Path) -> dict[str, bytes]:
    """Contents by name, without the directory that all are in."""
    with tarfile.open(path, "r:gz") as archive:
        found = {one.name.partition("/")[2]: archive.extractfile(one) for one in archive}
        return {name: file.read() for name, file in found.items() if file is not None}


def manifest(members: dict[str, bytes]) -> dict[str, Any]:
    return dict(json.loads(members["manifest.json"]))


def missing(members: dict[str, bytes]) -> dict[str, str]:
    return {one["name"]: one["why"] for one in manifest(members)["missing"]}


def queued(state_dir: Path) -> set[str]:
    """Actions of the messages that wait, as a reader beside the queue sees them."""
    with quiet_database.reading(
        str(state_dir / "transactions.db"), str(state_dir / "run" / "transaction_queue.lock")
    ) as database:
        return {message.action for kept in handover.transactions(database) for message in kept.messages}


def files(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A station that does not run."""
    found = tmp_path / "state"
    for name in ("log", "run"):
        (found / name).mkdir(parents=True)
    (found / "station.toml").write_text(config(), encoding="utf-8")
    (found / "run" / "station.json").write_text(json.dumps({"config": str(found / "station.toml"), "virtual": True}), "utf-8")
    (found / "log" / "meter.log").write_text("2026-11-24T03:15:00.100Z level=info service=meter event=started\n", "utf-8")
    return found


def bundle(state_dir: Path, *arguments: str) -> dict[str, bytes]:
    target = state_dir.parent / "bundle.tar.gz"
    assert support_bundle.main(["--state-dir", str(state_dir), *arguments, str(target)]) == 0
    return unpacked(target)


def test_a_station_that_does_not_run_gives_what_it_has(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(state_dir)
    members = bundle(state_dir)
    assert files(state_dir) == before, "something was written"
    assert {
        "log/meter.log",
        "config/station.toml",
        "config/keys.txt",
        "versions.txt",
        "disk.txt",
        "clock.txt",
    } <= members.keys()
    assert "no station runs in" in missing(members)["status"]
    assert missing(members)["queue.txt"].endswith("there is no transactions.db")
    assert manifest(members)["running"] is False
    assert {one["name"] for one in manifest(members)["parts"]} | {"manifest.json"} == members.keys()
    assert not [name for name in missing(members) if name.startswith("status.")], "the same is told twice"
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= 6
    assert "manifest.json in it says what is there" in shown[0]


def test_it_is_for_its_owner_only_and_other_tools_read_it(state_dir: Path) -> None:
    bundle(state_dir)
    path = state_dir.parent / "bundle.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(["tar", "-tzf", path], capture_output=True, text=True, check=True)
    assert (listed.stderr, "manifest.json" in listed.stdout) == ("", True)


def test_it_keeps_within_its_size_and_has_the_newest_lines(state_dir: Path) -> None:
    noise = random.Random(7)
    for name in ("meter.log.2", "meter.log.1", "meter.log", "rfid.log"):
        lines = [f"2026-11-24T03:15:00.100Z level=info event={noise.randbytes(60).hex()}\n" for _ in range(4000)]
        (state_dir / "log" / name).write_text("".join([*lines, f"the last of {name}\n"]), encoding="utf-8")
    members = bundle(state_dir, "--size", "0.5")
    assert (state_dir.parent / "bundle.tar.gz").stat().st_size <= 1 << 19
    assert members["log/meter.log"].endswith(b"the last of meter.log\n")
    assert members["log/meter.log"].startswith(b"2026-"), "a line was cut"
    assert "the newest of" in " ".join(one["note"] for one in manifest(members)["parts"])
    everything = bundle(state_dir, "--size", "20")
    assert {"log/meter.log.2", "log/meter.log.1", "log/rfid.log"} <= everything.keys()


def test_it_says_that_the_logs_show_cards_where_they_are_to(state_dir: Path) -> None:
    hidden = manifest(bundle(state_dir))["hidden"]
    with (state_dir / "station.toml").open("a", encoding="utf-8") as file:
        file.write("[logs]\nfull_id_tags = true\n")
    assert manifest(bundle(state_dir))["hidden"].startswith(f"{hidden}; but the logs show idTags in full")


@pytest.mark.parametrize("broken", ["", "\x00\xff", "[central_system", 'x = """', "[[[]]]"])
def test_broken_files_become_lines_of_the_manifest(state_dir: Path, broken: str) -> None:
    (state_dir / "station.toml").write_text(broken, encoding="latin-1")
    (state_dir / "transactions.db").write_bytes(b"SQLite format 3\x00" + broken.encode("latin-1") * 100)
    (state_dir / "configuration.db").write_bytes(b"no database")
    members = bundle(state_dir)
    assert "file is not a database" in missing(members)["queue.txt"] or "no such table" in missing(members)["queue.txt"]
    assert "log/meter.log" in members


def test_what_cannot_be_written_is_one_line(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert support_bundle.main(["--state-dir", str(state_dir), str(state_dir / "nowhere" / "x")]) == 1
    assert "can't be written (No such file or directory); name a FILE elsewhere\n" in capsys.readouterr().err
    assert support_bundle.main(["--state-dir", str(state_dir / "nobody"), "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


TOML = st.sampled_from(
    [
        'authorization_key = "{}"',
        "authorization_key='{}'",
        'authorization_key = """\n{}"""',
        '# authorization_key = "{}" was the old one',
        'central_system = {{ url = "ws://a/", authorization_key = "{}" }}',
        '"AuthorizationKey" = "{}"',
        "options = {{ api_token = '{}', baud = 9600 }}",
        'url = "wss://user:{}@central.example/ocpp"',
        'url = "wss://central.example/ocpp?key={}"',
        "password = {}",
        'api_key = "{}"',
        "options = {{ tokens = [\n'{}',\n'another'] }}",
    ]
)


@given(TOML, st.text(st.sampled_from("abcdefXYZ0123456789-_.!$%&*+~"), min_size=8, max_size=40))
def test_no_secret_is_left_in_a_configuration(form: str, secret: str) -> None:
    text = f'[station]\nidentity = "CP-1"\n{form.format(secret)}\nphases = 3\n'
    shown = masking.masked_toml(text)
    assert secret not in shown
    assert 'identity = "CP-1"' in shown
    assert shown.endswith("phases = 3\n")


@given(st.text(min_size=8, max_size=40), st.text(max_size=80), st.text(max_size=80))
def test_a_known_secret_is_found_wherever_it_stands(secret: str, before: str, after: str) -> None:
    forms = masking.secret_forms([secret])
    data = f"{before}{secret}{after}".encode("utf-8", "replace")
    shown = masking.without(data, forms)
    assert secret.encode("utf-8", "replace") not in shown or secret in masking.HIDDEN


def test_id_tags_are_shortened_at_every_depth() -> None:
    given = {"facts": {"id_tag": TAG}, "messages": [{"payload": {"idTag": TAG, "parentIdTag": TAG, "connectorId": 1}}]}
    assert masking.masked_values(given) == {
        "facts": {"id_tag": "04A1…D4"},
        "messages": [{"payload": {"idTag": "04A1…D4", "parentIdTag": "04A1…D4", "connectorId": 1}}],
    }


@pytest.mark.process
def test_a_station_that_hangs_is_told_of_all_the_same(stand_ins: StandInStation, tmp_path: Path) -> None:
    for name in ("broker", "supervisord"):
        stand_ins.kill(name, signal.SIGSTOP)
    try:
        done = stand_ins.command("support-bundle", str(tmp_path / "bundle.tar.gz"))
    finally:
        for name in ("broker", "supervisord"):
            stand_ins.kill(name, signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    members = unpacked(tmp_path / "bundle.tar.gz")
    assert manifest(members)["running"] is True
    assert b"supervisord does not answer" in members["status.txt"]
    assert {"log/supervisord.log", "log/meter.log", "memory.txt"} <= members.keys()
    assert "traces/" in missing(members)


@pytest.mark.process
def test_a_live_station_gives_everything_and_a_killed_one_its_databases(tmp_path: Path) -> None:
    with rig() as one:
        one.start_by_card()
        one.central_system.stop()
        one.station.sim("plug-out", "1")
        wait_until(lambda: "StopTransaction" in queued(one.station.state_dir), 20, "the queue has the StopTransaction")
        done = one.station.command("support-bundle", str(tmp_path / "live.tar.gz"))
        assert done.returncode == 0, done.stderr
        live = unpacked(tmp_path / "live.tar.gz")
        # All at once, so that none of them ends in good order.
        one.station.kill("supervisord", signal.SIGSTOP)
        for name in one.station.processes().keys() - {"supervisord"}:
            one.station.kill(name)
        one.station.kill_supervisord()
        wait_until(lambda: not one.station.processes(), 10, "all of it is dead")
        assert (one.station.state_dir / "transactions.db-wal").stat().st_size > 0
        before = files(one.station.state_dir)
        done = one.station.command("support-bundle", str(tmp_path / "dead.tar.gz"))
        assert files(one.station.state_dir) == before, "something was written beside a dead station"
        dead = unpacked(tmp_path / "dead.tar.gz")
    assert set(missing(live)) == {"traces/reader.txt"}
    assert json.loads(live["status.json"])["services"]["meter"]["devices"][0]["replies"] > 0
    assert b" > " in live["traces/evse-1.txt"]
    assert b"Pss" in live["memory.txt"]
    for members in (live, dead):
        assert b"StopTransaction" in members["queue.jsonl"]
        assert not [name for name, data in members.items() if TAG.encode() in data]
