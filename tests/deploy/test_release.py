"""What belongs to a release: the unit, the locked dependencies, the bound of the logs (issue 7)."""

import configparser
import re
from pathlib import Path

from packaging.requirements import Requirement

from services.ocpp_link.reset import REBOOT_COMMAND
from services.station import paths
from services.station.programs import PROGRAMS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
LOGS_BYTES_MAX = 64 << 20
"""As deploy/README.md tells it."""


def unit() -> dict[str, list[str]]:
    """Values by key of the unit; a key may stand there several times."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "share" / "chargebus.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_starts_the_current_release_on_the_usual_paths() -> None:
    (command,) = unit()["ExecStart"]
    assert command == (
        f"/opt/chargebus/current/bin/station run --config {paths.CONFIG_DEFAULT} --state-dir {paths.STATE_DIR_DEFAULT}"
    )
    assert unit()["User"] == unit()["Group"] == ["chargebus"]


def test_the_unit_never_gives_up() -> None:
    assert unit()["Restart"] == ["always"]
    assert unit()["StartLimitIntervalSec"] == ["0"]


def test_the_unit_lets_the_station_see_whether_the_clock_is_synchronised() -> None:
    """design §5: a source of time. adjtimex is refused by ProtectClock and by @system-service alone."""
    assert "ProtectClock" not in unit()
    assert any("adjtimex" in value.split() for value in unit()["SystemCallFilter"])


def test_the_unit_lets_the_station_reach_its_devices_and_the_watchdog() -> None:
    allowed = {value.split()[0] for value in unit()["DeviceAllow"]}
    assert {"char-ttyUSB", "char-ttyACM", "char-ttyS", "char-ttyAMA", "char-gpiochip", "char-input"} <= allowed
    assert "/dev/watchdog" in allowed


def test_a_reboot_is_allowed_by_polkit_to_the_user_of_the_unit() -> None:
    """OCPP 1.6 §5.14: `[system] on_reset = "reboot"`; logind asks polkit where the user is not root."""
    rule = (DEPLOY / "share" / "60-chargebus-polkit.rules").read_text()
    assert f'"{unit()["User"][0]}"' in rule
    assert REBOOT_COMMAND == ("/sbin/reboot",)


def test_the_lock_has_every_dependency_in_a_version_that_is_allowed() -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    wanted = setup["options"]["install_requires"].split("\n") + setup["options.extras_require"]["virtual"].split("\n")
    lines = (DEPLOY / "requirements.txt").read_text().splitlines()
    locked = {Requirement(line).name: line.partition("==")[2] for line in lines if line and not line.startswith("#")}
    assert all(locked.values()), "each line names one version"
    for line in filter(None, wanted):
        requirement = Requirement(line)
        assert requirement.name in locked, f"{requirement.name} is not locked"
        assert requirement.specifier.contains(locked[requirement.name]), line


def test_all_logs_together_are_bounded() -> None:
    text = (DEPLOY / "supervisord.conf").read_text()
    program, _, listener = text.partition("[eventlistener:")
    own, of_each, of_frames = (_log_bytes(program, key) for key in ("logfile", "stderr_logfile", "stdout_logfile"))
    assert _log_bytes(listener, "stderr_logfile") <= of_each
    fixed = [one for one in PROGRAMS if not one.virtual_only]
    assert own + of_each * len(fixed) + of_frames * sum(bool(one.stdout) for one in fixed) <= LOGS_BYTES_MAX
    assert f"{LOGS_BYTES_MAX >> 20} MB" in (DEPLOY / "README.md").read_text()


def _log_bytes(text: str, key: str) -> int:
    (megabytes,) = re.findall(rf"(?m)^{key}_maxbytes=(\d+)MB$", text)
    (backups,) = re.findall(rf"(?m)^{key}_backups=(\d+)$", text)
    return (int(megabytes) << 20) * (int(backups) + 1)
