"""`station check` on a real file system: all findings, their order, the exit code for scripts (issue 7)."""

import os
import pty
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.configuration import station
from services.station import check
from services.station.look_around import look_around
from services.station.surroundings import Facts, Finding, Severity
from tests import tls
from tests.harness import config

PORTS = {"evse": "openevse", "meter": "sdm120", "reader": "rdm6300"}


@pytest.fixture
def serial_ports() -> Iterator[dict[str, str]]:
    """Three pseudo-terminals, which are as good as serial ports for looking at."""
    pairs = {name: pty.openpty() for name in PORTS}
    yield {name: os.ttyname(slave) for name, (_, slave) in pairs.items()}
    for pair in pairs.values():
        for descriptor in pair:
            os.close(descriptor)


def written(tmp_path: Path, text: str, ports: dict[str, str] | None = None) -> str:
    """A station.toml with these ports in it; its path."""
    for name, port in (ports or {}).items():
        text = text.replace(
            f'driver = "{PORTS[name]}"', f'driver = "{PORTS[name]}"{"," if name != "reader" else chr(10)} port = "{port}"'
        )
    path = tmp_path / "station.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit code, and the lines but for what depends on the machine: advice, and temporary directories in memory."""
    code = check.main(arguments)
    lines = capsys.readouterr().err.splitlines()
    return code, [line for line in lines if not (line.startswith("advice: ") or " is in memory " in line)]


def seen(path: str, state_dir: Path, *, virtual: bool = False) -> Facts:
    found, lines = station.examine(path, with_virtual_devices=virtual)
    assert found is not None, lines
    return look_around(found, path, str(state_dir), virtual=virtual)


def test_a_station_that_lacks_nothing_is_good(
    tmp_path: Path, serial_ports: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, config(), serial_ports)
    code, lines = said(["--config", path, "--state-dir", str(tmp_path / "state")], capsys)
    assert code < 2
    assert [line for line in lines if "is used by" not in line] == []
    assert not (tmp_path / "state").exists(), "nothing is made"


def test_a_virtual_station_needs_no_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, config())
    assert check.main(["--virtual", "--config", path, "--state-dir", str(tmp_path)]) == 0
    assert "is good: station CP-1, 1 connector" in capsys.readouterr().out


def test_everything_that_is_wrong_is_told_the_fatal_first(
    tmp_path: Path, serial_ports: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    ports = {**serial_ports, "meter": "/dev/serial/by-id/gone", "reader": str(tmp_path)}
    path = written(tmp_path, config().replace("max_current_a = 32", "max_current_a = 5\nphases = 9"), ports)
    code, lines = said(["--config", path, "--state-dir", str(tmp_path)], capsys)
    assert code == 2
    lines = [line for line in lines if "is used by" not in line]
    assert [line.partition(": ")[0] for line in lines] == ["does not start", "does not start", "wrong", "wrong"]
    assert "[supply] max_current_a" in lines[0]
    assert "[supply] phases" in lines[1]
    assert "/dev/serial/by-id/gone is not there; plug the device in" in lines[2]
    assert "is no serial port" in lines[3]


def test_a_missing_device_alone_is_no_reason_not_to_start(
    tmp_path: Path, serial_ports: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, config(), {**serial_ports, "reader": "/dev/serial/by-id/gone"})
    code, lines = said(["--config", path, "--state-dir", str(tmp_path)], capsys)
    assert code == 1
    assert len([line for line in lines if "is used by" not in line]) == 1


def test_another_program_on_the_port_is_named(tmp_path: Path, serial_ports: dict[str, str]) -> None:
    path = written(tmp_path, config(), serial_ports)
    (found,) = (facts for facts in seen(path, tmp_path).ports if facts.where == "[reader] port")
    assert (found.problem, found.may_open, found.console) == ("", True, False)
    assert len(found.holders) == 1
    assert f"(process {os.getpid()})" in found.holders[0]


def test_an_authorization_key_that_everybody_can_read_is_told(tmp_path: Path) -> None:
    key = 'security_profile = 1\nauthorization_key = "0123456789abcdef0123456789abcdef"\n\n[supply]'
    path = written(tmp_path, config().replace("[supply]", key))
    os.chmod(path, 0o644)
    assert seen(path, tmp_path, virtual=True).key_readable_by_all
    os.chmod(path, 0o640)
    assert not seen(path, tmp_path, virtual=True).key_readable_by_all


def test_the_end_of_a_certificate_is_read_from_its_file(tmp_path: Path) -> None:
    authority = tls.Authority(tmp_path, "root")
    text = config(url="wss://127.0.0.1:9/").replace(
        "[supply]",
        "security_profile = 2\n"
        'authorization_key = "0123456789abcdef0123456789abcdef"\n'
        f'root_ca_files = ["{authority.file}"]\n\n[supply]',
    )
    (found,) = seen(written(tmp_path, text), tmp_path, virtual=True).certificates
    assert found.problem == ""
    assert found.ends_utc_s is not None
    assert time.time() < found.ends_utc_s < time.time() + 2 * 86400
    assert found.subject == "commonName=root"


def test_a_central_system_that_refuses_is_named(tmp_path: Path) -> None:
    problem = seen(written(tmp_path, config()), tmp_path, virtual=True).central_system_problem
    assert problem.startswith("127.0.0.1 port ")
    assert "can't be reached" in problem


def test_a_state_directory_in_memory_is_seen_and_does_not_matter_to_a_virtual_station(tmp_path: Path) -> None:
    path = written(tmp_path, config())
    found, _ = station.examine(path, with_virtual_devices=True)
    assert found is not None
    assert look_around(found, path, "/proc/self/none", virtual=False).state.file_system == "proc"
    assert look_around(found, path, "/proc/self/none", virtual=True).state.file_system == ""


@pytest.mark.parametrize(
    ("severities", "code"),
    [
        ((), 0),
        ((Severity.ADVICE,), 0),
        ((Severity.ADVICE, Severity.WRONG), 1),
        ((Severity.WRONG, Severity.FATAL), 2),
    ],
)
def test_the_exit_code_is_of_the_worst(severities: tuple[Severity, ...], code: int) -> None:
    assert check.exit_code([Finding(severity, "") for severity in severities]) == code
