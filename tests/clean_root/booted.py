"""The installed unit under a real systemd, with all its hardening: start, upgrade, a release that fails, power cut (issue 7).

Owns: booting a clean root in namespaces and a control group of its own, and the steps. Does not: have devices or a Central
System; the station is not well there, and runs. Its sessions are the other proof's (`proof.py`).
"""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bus.version import VERSION
from tests.clean_root.releases import BROKEN, LATER
from tests.clean_root.steps import run_steps
from tests.clean_root.system import Root
from tests.harness import wait_until

PACKAGES = ("systemd", "systemd-sysv", "dbus", "polkitd", "procps")
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child=KILL")
_UNIT = "chargebus.service"
_BOOT_S = 60.0
_INSTALLER = "/opt/chargebus/current/share/install.sh"


def cgroup2() -> Path | None:
    """Where control groups of version 2 are mounted; systemd wants them."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        if tail.startswith("cgroup2 "):
            return Path(head.split()[4])
    return None


class Board(Root):
    """A clean root that is booted; commands run beside its systemd."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._process: subprocess.Popen[bytes] | None = None
        self._systemd = 0
        mounted = cgroup2()
        assert mounted is not None, "there is no cgroup2 here"
        self._group = mounted / f"clean-root-{os.getpid()}"

    def boot(self) -> None:
        """Switch it on; back when systemd has started everything."""
        own = [sys.executable, "-m", "tests.clean_root.booted", str(self.path)]
        self._group.mkdir(exist_ok=True)
        with open(self.path.parent / "console.txt", "ab") as console:
            self._process = subprocess.Popen(
                ["unshare", *_NAMESPACES, *own],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=lambda: (self._group / "cgroup.procs").write_text("0") and None,
            )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._systemd = int(wait_until(lambda: children.read_text().split(), _BOOT_S, "the board is switched on")[0])
        wait_until(lambda: self._state() in ("running", "degraded"), _BOOT_S, "systemd has started everything")

    def cut_power(self) -> None:
        """Everything on it ends at once."""
        if self._process is not None:
            (self._group / "cgroup.kill").write_text("1")
            self._process.wait()
            wait_until(self._group_is_gone, 20, "nothing of the board is left")

    def _group_is_gone(self) -> bool:
        """A control group goes when its last process has."""
        for path in [*sorted(self._group.rglob("*/"), reverse=True), self._group]:
            with contextlib.suppress(OSError):
                path.rmdir()
        return not self._group.exists()

    def way_in(self) -> list[str]:
        """Into the namespaces of its first process."""
        return ["nsenter", "--target", str(self._systemd), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"]

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", code=None).strip()


def prove_booted(work: Path) -> int:
    """0 if every step does what it should; 1 after the first that does not."""
    with _switched_on(Board(work / "root")) as board:
        proof = _Proof(board)
        steps: tuple[Callable[[], None], ...] = (
            proof.a_prepared_station_starts_by_itself,
            proof.an_upgrade_restarts_it_once,
            proof.a_release_that_does_not_run_is_taken_back,
            proof.it_starts_again_whatever_ends_it,
            proof.it_may_ask_for_a_reboot_and_for_the_clock_and_no_more,
            proof.it_is_there_after_a_power_cut,
            proof.uninstall_ends_it,
        )
        return run_steps(steps, board)


@contextlib.contextmanager
def _switched_on(board: Board) -> Iterator[Board]:
    board.boot()
    try:
        yield board
    finally:
        board.cut_power()


class _Proof:
    def __init__(self, board: Board) -> None:
        self._board = board

    def a_prepared_station_starts_by_itself(self) -> None:
        """With the depot's configuration there is nothing left to do."""
        self._install(VERSION, "--profile", "/srv/depot.toml")
        assert self._running() == VERSION

    def an_upgrade_restarts_it_once(self) -> None:
        """The second time there is nothing to restart, with a car charging perhaps."""
        self._install(LATER)
        assert self._running() == LATER
        before = self._pid()
        self._install(LATER)
        assert self._pid() == before

    def a_release_that_does_not_run_is_taken_back(self) -> None:
        """A station that charges with the old release is better than one that does not with the new."""
        said = self._install(BROKEN, code=1)
        assert f"release {BROKEN} does not start, so {LATER} runs again" in said, said
        assert self._running() == LATER

    def it_starts_again_whatever_ends_it(self) -> None:
        """Restart=always."""
        before = self._pid()
        self._board.run("kill", "-KILL", before)
        wait_until(lambda: self._pid() not in ("0", before), 20, "systemd starts it again")
        assert self._running() == LATER

    def it_may_ask_for_a_reboot_and_for_the_clock_and_no_more(self) -> None:
        """OCPP 1.6 §5.14 by polkit; design §5 by the system call filter; no capability."""
        ask = "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager CanReboot"
        assert self._board.run(*ask.split(), user="chargebus").strip() == 's "yes"'
        status = self._board.run("cat", f"/proc/{self._pid()}/status")
        assert re.search(r"(?m)^CapBnd:\t0+$", status), status
        assert re.search(r"(?m)^NoNewPrivs:\t1$", status), status
        unit = self._board.run("systemctl", "show", "--property", "SystemCallFilter", _UNIT)
        assert "adjtimex" in unit
        assert "settimeofday" not in unit

    def it_is_there_after_a_power_cut(self) -> None:
        """By the links that the installer made, without a command of systemd's."""
        self._board.cut_power()
        self._board.boot()
        wait_until(lambda: self._pid() != "0", 20, "it starts at boot")
        assert self._running() == LATER

    def uninstall_ends_it(self) -> None:
        """And nothing of it is left to be started."""
        self._board.run(_INSTALLER, "uninstall", "--purge")
        assert self._board.run("systemctl", "is-active", _UNIT, code=None).strip() == "inactive"
        assert "/opt/chargebus" not in self._board.run("ps", "ax")

    def _install(self, version: str, *words: str, code: int = 0) -> str:
        return self._board.run(f"/srv/releases/{version}/install.sh", "install", *words, code=code)

    def _pid(self) -> str:
        return self._board.run("systemctl", "show", "--property", "MainPID", "--value", _UNIT).strip()

    def _running(self) -> str:
        """The release whose services all run."""
        wait_until(lambda: self._board.run("station", "status", code=None).count(" RUNNING ") == 6, 40, "all services run")
        command = self._board.run("cat", f"/proc/{self._pid()}/cmdline")
        (version,) = re.findall(r"^/opt/chargebus/releases/([^/]+)/", command)
        return str(version)


def _become_systemd(path: Path) -> None:
    """In the new namespaces: what a kernel would have mounted, then its first process."""
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    Root(path).mount()
    for kind, directory in (("sysfs", "sys"), ("tmpfs", "run"), ("cgroup2", "sys/fs/cgroup")):
        subprocess.run(["mount", "-t", kind, kind, str(path / directory)], check=True)
    os.chroot(path)
    os.chdir("/")
    os.execve(
        "/lib/systemd/systemd", ["systemd", "--log-target=console"], {"container": "chroot", "PATH": "/usr/sbin:/usr/bin"}
    )


if __name__ == "__main__":
    _become_systemd(Path(sys.argv[1]))
