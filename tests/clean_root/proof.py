"""The proof: a release is installed, used, upgraded under power cuts, taken back and removed, in a clean root (issue 7).

Owns: the steps and what must hold after each. Does not: make the root (`system.py`) or run the station (`station.py`).
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from bus.version import VERSION
from services.demo.central_system import CentralSystem
from tests.clean_root import station as stations
from tests.clean_root.releases import LATER
from tests.clean_root.steps import run_steps
from tests.clean_root.system import Root, differences

USER = "chargebus"
CURRENT = "/opt/chargebus/current"
SOFTWARE = ("/opt", "/etc", "/usr/local")
KEPT = ("/etc/chargebus", "/var/lib/chargebus", "/var/log/chargebus")
_SOURCED = r"""
set -o functrace
cut=0
trap 'cut=$((cut + 1)); if [ $cut -ge {at} ]; then kill -KILL 0; fi' DEBUG
source {script}
main {words}
"""
"""Ends the installer, and all that it has started, before its n-th command."""


def prove(work: Path, *, every: int) -> int:
    """0 if every step does what it should; 1 after the first that does not, with its reason."""
    root = Root(work / "root")
    root.mount()
    proof = Proof(root, every)
    steps: tuple[Callable[[], None], ...] = (
        proof.a_dry_run_changes_nothing,
        proof.a_damaged_release_is_refused,
        proof.a_release_is_installed_without_a_network,
        proof.a_second_installation_changes_nothing,
        proof.the_installed_station_completes_a_session,
        proof.what_is_not_delivered_keeps_the_software_in_place,
        proof.an_upgrade_cut_at_any_instant_leaves_the_old_or_the_new,
        proof.the_new_release_delivers_what_the_old_one_recorded,
        proof.a_configuration_that_stops_the_start_stops_the_upgrade,
        proof.rollback_goes_to_the_release_before_and_keeps_the_databases,
        proof.uninstall_keeps_the_state,
        proof.purge_leaves_nothing,
    )
    return run_steps(steps, root)


class Proof:
    """The steps, in the order in which a station lives through them."""

    def __init__(self, root: Root, every: int) -> None:
        self._root = root
        self._every = every
        self._clean = root.snapshot("/etc", "/opt", "/usr", "/var/lib", "/var/log")

    def a_dry_run_changes_nothing(self) -> None:
        """It names what would be done."""
        before = self._root.snapshot(*SOFTWARE, "/var/lib", "/var/log")
        said = self._install(VERSION, "--dry-run")
        for words in ("would: useradd", "point /opt/chargebus/current to releases/", "would: seal"):
            assert words in said, said
        assert differences(before, self._root.snapshot(*SOFTWARE, "/var/lib", "/var/log")) == []

    def a_damaged_release_is_refused(self) -> None:
        """A byte that was lost on the way is noticed before anything is done."""
        wheel = next((self._root.path / "srv/releases" / VERSION / "wheels").glob("pyzmq*"))
        whole = wheel.read_bytes()
        wheel.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert "the release is damaged" in self._install(VERSION, code=1)
        wheel.write_bytes(whole)
        assert not (self._root.path / CURRENT.lstrip("/")).is_symlink()

    def a_release_is_installed_without_a_network(self) -> None:
        """And cut in between: the next run begins again where it must."""
        for after_s in (0.5, 2.0):
            self._cut_in_time(VERSION, after_s)
        self._install(VERSION, "--profile", "/srv/depot.toml")
        assert self._version() == VERSION
        assert re.search(r"groups=\d+\(chargebus\),\d+\(dialout\)$", self._root.run("id", USER).strip())
        for path, words in {
            "/etc/chargebus": "root:chargebus 750",
            "/etc/chargebus/station.toml": "root:chargebus 640",
            "/var/lib/chargebus": "chargebus:chargebus 750",
            "/var/log/chargebus": "chargebus:chargebus 750",
            "/opt/chargebus/releases": "root:root 755",
        }.items():
            found = self._root.run("stat", "--format", "%U:%G %a", path).strip()
            assert found == words, f"{path} is {found}"
        writable = self._root.run("find", "/opt/chargebus", "-perm", "/022", "!", "-type", "l")
        assert writable == "", f"others than root can write {writable}"
        said = self._root.run("station", "check", code=1)
        assert "does not start" not in said, said
        assert "/dev/ttyUSB0 is not there; plug the device in" in said, said

    def a_second_installation_changes_nothing(self) -> None:
        """Idempotent: nothing is written again."""
        before = self._root.snapshot(*SOFTWARE, *KEPT)
        self._install(VERSION)
        assert differences(before, self._root.snapshot(*SOFTWARE, *KEPT)) == []

    def the_installed_station_completes_a_session(self) -> None:
        """As the unprivileged user, and without writing anywhere but in state and log."""
        before = self._root.snapshot("/etc", "/opt", "/usr", "/var/lib/dpkg", "/root", "/srv")
        with _central_system() as central_system, stations.running(self._root):
            stations.session(self._root, central_system)
            users = set(stations.processes(self._root).values())
            assert users == {int(self._root.run("id", "-u", USER))}, f"processes run as {users}"
        assert differences(before, self._root.snapshot("/etc", "/opt", "/usr", "/var/lib/dpkg", "/root", "/srv")) == []
        assert list((self._root.path / "var/log/chargebus").glob("connectors.log")), "logs are where logs belong"

    def what_is_not_delivered_keeps_the_software_in_place(self) -> None:
        """A session that no Central System has heard of is money: uninstall refuses, and says why."""
        with stations.running(self._root):
            stations.charge(self._root)
        self._root.run("station", "queue", "check", code=1)
        for words in (("uninstall",), ("uninstall", "--purge")):
            said = self._root.run(f"{CURRENT}/share/install.sh", *words, code=1)
            assert "nothing was removed" in said, said
            assert "--with-undelivered" in said, said
        assert self._version() == VERSION

    def an_upgrade_cut_at_any_instant_leaves_the_old_or_the_new(self) -> None:
        """While the release is made, and then before each n-th command of the installer, to its end."""
        for after_s in (0.3, 1.0, 2.0, 3.0, 4.0):
            # Where the machine is quick the last of them come too late: then it is the new one, whole.
            done = self._cut_in_time(LATER, after_s)
            assert self._version() in ({LATER} if done else {VERSION, LATER})
            self._back_to_the_old_one()
        self._install(LATER)
        assert self._version() == LATER
        seen, at = set(), 1
        while True:
            self._back_to_the_old_one()
            if self._cut_at_command(LATER, at):
                break
            seen.add(self._version())
            assert seen <= {VERSION, LATER}
            at += self._every
        assert seen == {VERSION, LATER}, f"the cuts came only before or only after the switch: {seen}"
        assert self._version() == LATER
        print(f"        the installer was ended before every {self._every}. of its {at} commands", flush=True)

    def the_new_release_delivers_what_the_old_one_recorded(self) -> None:
        """Nothing is lost by an upgrade, and the databases go on."""
        with _central_system() as central_system, stations.running(self._root):
            central_system.book.wait_for(
                lambda book: book.transactions() and book.transactions()[0].stop, 40, "the old session"
            )
            stations.session(self._root, central_system)
            _until_delivered(self._root)

    def a_configuration_that_stops_the_start_stops_the_upgrade(self) -> None:
        """The station would be dark after it: what is current stays."""
        path = self._root.path / "etc/chargebus/station.toml"
        good = path.read_text()
        path.write_text(good + "\n[sation]\n")
        assert "nothing was switched" in self._install(VERSION, code=1)
        assert "nothing was switched" in self._root.run(f"{CURRENT}/share/install.sh", "rollback", code=1)
        assert self._version() == LATER
        path.write_text(good)

    def rollback_goes_to_the_release_before_and_keeps_the_databases(self) -> None:
        """Never to older databases: schemas only grow, and the older release works with what the newer one left."""
        before = self._root.snapshot("/var/lib/chargebus", "/etc/chargebus")
        self._root.run(f"{CURRENT}/share/install.sh", "rollback")
        assert self._version() == VERSION
        assert differences(before, self._root.snapshot("/var/lib/chargebus", "/etc/chargebus")) == []
        with _central_system() as central_system, stations.running(self._root):
            stations.session(self._root, central_system)
            _until_delivered(self._root)

    def uninstall_keeps_the_state(self) -> None:
        """And an installation after it finds everything again."""
        before = self._root.snapshot(*KEPT)
        self._root.run(f"{CURRENT}/share/install.sh", "uninstall")
        changed = differences(before, self._root.snapshot(*KEPT))
        # Looking into the queue makes SQLite's own files beside a database come and go.
        assert [name for name in changed if not name.endswith(("-shm", "-wal"))] == []
        assert not (self._root.path / "opt/chargebus").exists()
        assert self._root.snapshot("/usr/local/bin", "/etc/systemd/system").keys() <= self._clean.keys()
        self._install(LATER)
        assert self._version() == LATER

    def purge_leaves_nothing(self) -> None:
        """But what Debian's own tools keep of users that there were."""
        self._root.run(f"{CURRENT}/share/install.sh", "uninstall", "--purge")
        left = differences(self._clean, self._root.snapshot("/etc", "/opt", "/usr", "/var/lib", "/var/log"))
        allowed = re.compile(
            r"/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?|/etc/\.pwd\.lock|/var/log/(faillog|lastlog)|/opt|/usr/local/bin"
        )
        assert [name for name in left if not allowed.fullmatch(name)] == []
        self._root.run("id", USER, code=1)

    def _install(self, version: str, *words: str, code: int = 0) -> str:
        return self._root.run(f"/srv/releases/{version}/install.sh", "install", *words, code=code)

    def _version(self) -> str:
        """Of what would start now: by the unit's own way, as the unit's user."""
        program = stations.unit_command(self._root)[0]
        return self._root.run(program, "--version", user=USER).split()[-1]

    def _back_to_the_old_one(self) -> None:
        if self._version() == LATER:
            self._root.run(f"{CURRENT}/share/install.sh", "rollback")

    def _cut_in_time(self, version: str, after_s: float) -> bool:
        """Kill an installation, and all that it has started, so many seconds after its start; whether it was done by then."""
        script = f"/srv/releases/{version}/install.sh"
        command = self._root.command(script, "install", "--profile", "/srv/depot.toml")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as process:
            try:
                process.wait(after_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode == 0

    def _cut_at_command(self, version: str, at: int) -> bool:
        """Kill an installation before its `at`-th command; whether it had fewer, and came to its end."""
        text = _SOURCED.format(at=at, script=f"/srv/releases/{version}/install.sh", words="install")
        command = self._root.command("bash", "-c", text)
        done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), f"{done.stdout}{done.stderr}"
        return done.returncode == 0


def _central_system() -> CentralSystem:
    return CentralSystem(stations.PORT)


def _until_delivered(root: Root) -> None:
    from tests.harness import wait_until

    def delivered() -> bool:
        return subprocess.run(root.command("station", "queue", "check"), capture_output=True, check=False).returncode == 0

    wait_until(delivered, 40, "the queue is empty")
