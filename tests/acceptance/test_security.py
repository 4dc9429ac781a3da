"""Security profiles 0 to 2 on a whole station (security whitepaper §2), and that no secret gets out."""

from pathlib import Path

import pytest

from tests.acceptance.rig import CentralSystem, Rig, config_text
from tests.harness import Station, wait_until
from tests.tls import Authority

pytestmark = pytest.mark.process

PASSWORD = "correct-horse-battery"


def _secured(text: str, url: str, lines: str) -> str:
    return text.replace(f'url = "{url}"', f'url = "{url}"\n{lines}')


def _everything_written(state_dir: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in (state_dir / "log").glob("*"))


def test_profile_1_sends_the_password_and_no_log_has_it() -> None:
    """Security whitepaper §2.3: HTTP Basic over ws, the identity is the user name."""
    with CentralSystem() as central_system:
        central_system.behaviour.passwords = {"CP-1": "another password"}
        lines = f'security_profile = 1\nauthorization_key = "{PASSWORD}"'
        text = _secured(config_text(central_system.url), central_system.url, lines)
        with Station(text) as station:
            wait_until(lambda: "401" in station.log("ocpp_link"), 10, "the wrong password is refused")
            central_system.behaviour.passwords = {"CP-1": PASSWORD}
            Rig(station, central_system, "CP-1").wait_for_boot()
            assert PASSWORD not in _everything_written(station.state_dir)
            answer = central_system.call("GetConfiguration", {})
            assert PASSWORD not in str(answer)


def test_profile_2_checks_the_certificate_and_its_host_name(tmp_path: Path) -> None:
    """Security whitepaper §2.4: TLS with the CA of station.toml; an unknown CA is refused with the cause in plain words."""
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    with CentralSystem(tls=authority.server("127.0.0.1")) as central_system:
        central_system.behaviour.passwords = {"CP-1": PASSWORD}
        for root, connects in ((stranger.file, False), (authority.file, True)):
            lines = f'security_profile = 2\nauthorization_key = "{PASSWORD}"\nroot_ca_files = ["{root}"]'
            with Station(_secured(config_text(central_system.url), central_system.url, lines)) as station:
                if connects:
                    Rig(station, central_system, "CP-1").wait_for_boot()
                else:
                    wait_until(lambda s=station: "certificate" in s.log("ocpp_link"), 10, "the cause is in the log")
                    assert not central_system.book.calls("BootNotification")


def test_profile_3_is_refused_with_one_line() -> None:
    """Not built yet: the start stops with a line that says so."""
    text = _secured(config_text("wss://127.0.0.1:1/"), "wss://127.0.0.1:1/", "security_profile = 3")
    station = Station(text, ready_timeout_s=None)
    try:
        done = station.command("run", "--virtual", "--config", str(station.config_path))
        assert done.returncode == 2
        assert "security_profile" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    finally:
        station._clear_up()


def test_another_authorization_key_is_used_at_once_and_rolled_back_where_it_is_refused() -> None:
    """Security whitepaper A01, OCPP-J 1.6 §6.2.2; field report 56."""
    new, wrong = "another-horse-battery", "nobody-knows-this-one"
    with CentralSystem() as central_system:
        central_system.behaviour.passwords = {"CP-1": PASSWORD}
        lines = f'security_profile = 1\nauthorization_key = "{PASSWORD}"'
        with Station(_secured(config_text(central_system.url), central_system.url, lines)) as station:
            Rig(station, central_system, "CP-1").wait_for_boot()
            central_system.behaviour.passwords = {"CP-1": new}
            for key, connections in ((new, 2), (wrong, 3)):
                change = {"key": "AuthorizationKey", "value": key}
                assert central_system.call("ChangeConfiguration", change) == {"status": "Accepted"}
                central_system.wait_for(lambda book, n=connections: len(book.connections()) == n, 20, "the next connection")
            assert "configurationKey" in central_system.call("GetConfiguration")
            wait_until(lambda: "is the old one again" in station.log("ocpp_link"), 10, "the log says which key holds")
            assert not [key for key in (PASSWORD, new, wrong) if key in _everything_written(station.state_dir)]
            assert len(central_system.book.calls("BootNotification")) == 1
