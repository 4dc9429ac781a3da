"""A Debian that holds no more than it must, in a directory: making it, living in it, looking at it.

Owns: mmdebstrap, namespaces, mounts, commands inside the root, snapshots of its files. Does not: know chargebus.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

SUITE = "bookworm"
PYTHON_VERSION = "3.11"
"""The one that the suite has."""
NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child=KILL", "--mount-proc")
_TRIED = """
mount -t tmpfs none /mnt
mknod /mnt/null c 1 3
echo > /mnt/null
mkdir /mnt/pts /mnt/proc
mount -t devpts -o newinstance devpts /mnt/pts
mount -t proc proc /mnt/proc
"""
"""What `Root.mount` does; a container may allow namespaces and forbid the rest."""
_MAKE_S_MAX = 180
_COMMAND_S_MAX = 180
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

Snapshot = dict[str, tuple[int, ...] | str]


class CannotBeMade(Exception):
    """The mirror does not give a Debian; the text says why."""


class CommandFailed(AssertionError):
    """A command inside ended otherwise than expected; the text has all that it said."""


def lacking() -> str:
    """What this machine lacks for a clean root, with the remedy; empty: nothing."""
    if os.geteuid() != 0:
        return "it needs root; run it with sudo"
    missing = [name for name in ("mmdebstrap", "unshare", "chroot", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"there is no {', '.join(missing)}; apt-get install mmdebstrap util-linux coreutils"
    tried = subprocess.run([*NAMESPACES, "sh", "-ec", _TRIED], capture_output=True, text=True, check=False)
    return f"namespaces, mounts or devices are not allowed here ({tried.stderr.strip()})" if tried.returncode else ""


def make(root: Path, mirror: str, *packages: str) -> None:
    """The smallest Debian with a Python in it, and `packages`. Raises CannotBeMade."""
    # In a namespace of its own too: mmdebstrap mounts things inside, which must go even if it is killed.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    command += ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(('python3', *packages))}"]
    command += [SUITE, str(root), mirror]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MAKE_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise CannotBeMade(f"{mirror} gives no Debian within {_MAKE_S_MAX} s") from None
    if done.returncode:
        raise CannotBeMade(f"{mirror} gives no Debian: {' / '.join(done.stderr.splitlines()[-3:])}")


class Root:
    """The root, seen from inside the namespaces."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self) -> None:
        """What a running system has: processes, devices, terminals, a loopback. All of it goes with the namespaces."""
        loopback_up()
        dev = self.path / "dev"
        _run("mount", "-t", "proc", "proc", str(self.path / "proc"))
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "dev", str(dev))
        for name, numbers in _DEVICES.items():
            os.mknod(dev / name, 0o020666, os.makedev(*numbers))
            os.chmod(dev / name, 0o666)
        for name in ("pts", "shm"):
            (dev / name).mkdir()
        _run("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", str(dev / "pts"))
        _run("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", str(dev / "shm"))
        (dev / "ptmx").symlink_to("pts/ptmx")

    def command(self, *words: str, user: str | None = None) -> list[str]:
        """`words` as a command inside the root, with an environment that owes nothing to this machine."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8"]
        return [*self.way_in(), *clean, *become, *words]

    def way_in(self) -> list[str]:
        """How a command gets inside."""
        return ["chroot", str(self.path)]

    def run(self, *words: str, user: str | None = None, code: int | None = 0) -> str:
        """What a command inside prints, of one that is expected to fail also its complaints.

        Raises CommandFailed where it does not end with `code`; None: any.
        """
        done = subprocess.run(
            self.command(*words, user=user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S_MAX,
            check=False,
        )
        if code is not None and done.returncode != code:
            raise CommandFailed(f"{' '.join(words)}: ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
        return done.stdout + (done.stderr if code else "")

    def snapshot(self, *directories: str) -> Snapshot:
        """Each file below these directories: type and mode, owner, size, time of change, target of links."""
        found: Snapshot = {}
        for directory in directories:
            top = self.path / directory.lstrip("/")
            for path in [top, *top.rglob("*")] if top.exists() else []:
                status = path.lstat()
                name = "/" + str(path.relative_to(self.path))
                if path.is_symlink():
                    found[name] = os.readlink(path)
                elif path.is_dir():
                    found[name] = (status.st_mode, status.st_uid, status.st_gid)
                else:
                    found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns)
        return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Names of what came, went or changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def loopback_up() -> None:
    """A new network namespace has a loopback that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(words)}: {done.stderr}")
