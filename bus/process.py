"""What each process of the station owes the others: die with its parent, run only once, answer SIGTERM (design §2).

Owns: the parent-death signal, the lock file and the proof of who holds it, the signal pipe, the memory that a start leaves.
Does not: restart anything; that is supervisord's.
"""

import ctypes
import errno
import fcntl
import gc
import os
import signal
import time

SUPERVISOR_PID_ENVIRONMENT = "CHARGEBUS_SUPERVISOR_PID"
"""Set by `station run`, which becomes supervisord: the parent that each service is to have."""
_PR_SET_PDEATHSIG = 1
LOCK_WAIT_S = 3.0
"""How long a new process waits for the one that it replaces."""


class AlreadyRunning(Exception):
    """Another process holds the lock; the text names its pid."""


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel for SIGTERM when the parent dies; raises SystemExit if it is dead already. `parent`: who that should be.

    A process takes a while from its fork to this line. Where its supervisor is known by its pid, one that died meanwhile is
    noticed too: the kernel has given the orphan another parent by then, which may live for ever.
    """
    if parent is None:
        parent = int(os.environ.get(SUPERVISOR_PID_ENVIRONMENT) or os.getppid())
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit("the parent process died while this one started")


def settle() -> None:
    """Once a process has all that it lives on: give back what the imports left over, and look no more for garbage in the rest.

    On seven processes together that is 6 MB of the 100 of the budget (`make bench SUITES=station`). A libc without malloc_trim
    keeps them.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def orphaned() -> bool:
    """Whether the parent that this process was to die with is gone: it does not end because somebody told the station to."""
    parent = os.environ.get(SUPERVISOR_PID_ENVIRONMENT)
    return parent is not None and os.getppid() != int(parent)


def take_lock(path: str, wait_s: float = LOCK_WAIT_S) -> int:
    """Hold `path` exclusively for the life of this process; its descriptor. The file names pid and start time.

    Raises AlreadyRunning when another process holds it for longer than `wait_s`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if time.monotonic() >= deadline_s:
                holder = os.pread(descriptor, 100, 0).decode("ascii", "replace").split()
                os.close(descriptor)
                raise AlreadyRunning(f"process {holder[0] if holder else 'unknown'} holds {path}") from None
            time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {start_ticks(os.getpid())}\n".encode(), 0)
    return descriptor


def lock_holder(path: str) -> int | None:
    """Pid of the living process that holds the lock, proved by its start time; None if nobody does.

    The start time matters: pids are used again, and only our own process may be ended.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        fields = os.pread(descriptor, 100, 0).split()
    finally:
        os.close(descriptor)
    if len(fields) != 2 or not (fields[0].isdigit() and fields[1].isdigit()):
        return None
    pid = int(fields[0])
    return pid if start_ticks(pid) == int(fields[1]) else None


def locked(path: str) -> bool:
    """Whether some process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return True
    finally:
        os.close(descriptor)


def signal_holder(path: str, number: signal.Signals) -> None:
    """Send a signal to the process that provably holds the lock; to nobody if there is none."""
    pid = lock_holder(path)
    if pid is None:
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Proved once more with the process held fast: now the pid cannot pass to a stranger.
        if lock_holder(path) == pid:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rsplit(b")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def stop_signal_fd() -> int:
    """A descriptor that becomes readable when SIGTERM or SIGINT arrives."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader
