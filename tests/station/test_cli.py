"""The command line: help, unknown subcommands, what may be imported (issue 2: `sim` returns within half a second)."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.station import cli


def test_without_a_subcommand_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "station run" in capsys.readouterr().out
    assert cli.main(["--help"]) == 0


def test_an_unknown_subcommand_is_named_and_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fly"]) == 2
    said = capsys.readouterr().err
    assert "there is no subcommand 'fly'" in said
    assert "station status" in said


@pytest.mark.parametrize("name", ["run", "status", "logs", "devices", "restart", "check", "sim"])
def test_each_subcommand_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: station {name}" in capsys.readouterr().out


def test_check_of_a_good_and_a_bad_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.harness import config

    path = tmp_path / "station.toml"
    path.write_text(config(), encoding="utf-8")
    assert cli.main(["check", "--virtual", "--config", str(path)]) == 0
    assert "station CP-1, 1 connector" in capsys.readouterr().out
    path.write_text(config() + "\n[sation]\n", encoding="utf-8")
    assert cli.main(["check", "--virtual", "--config", str(path)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("advice: ")]
    assert len(said) == 1
    assert "sation" in said[0]


@pytest.mark.process
@pytest.mark.parametrize("module", ["services.station.cli", "services.station.sim", "services.station.run"])
def test_the_quick_parts_do_not_import_the_bus(module: str) -> None:
    script = f"import sys, {module}; sys.exit(' '.join({{'zmq', 'msgpack', 'sqlite3', 'supervisor'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
