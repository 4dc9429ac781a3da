"""What each process owes the others: run once, die with its parent, answer signals (design §2)."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bus import process
from bus.process import AlreadyRunning, lock_holder, start_ticks, take_lock
from tests.harness import wait_until

WAIT_S = 10.0


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """With a standard input of its own: who reads it waits, wherever that of the tests ends."""
    command, pipe = [sys.executable, "-c", textwrap.dedent(code), *arguments], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


HOLD = """
    import sys
    from bus.process import take_lock
    take_lock(sys.argv[1])
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
def test_a_lock_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    command = [sys.executable, "-c", textwrap.dedent(HOLD), path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert lock_holder(path) == holder.pid
        with pytest.raises(AlreadyRunning, match=f"process {holder.pid} "):
            take_lock(path, wait_s=0.0)
        holder.kill()
        holder.wait()
        assert lock_holder(path) is None
    os.close(take_lock(path, wait_s=0.0))


@pytest.mark.process
def test_who_waits_gets_the_lock_of_the_one_that_it_replaces(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    first = take_lock(path)
    with python(HOLD, path) as second:
        os.close(first)
        assert second.stdout is not None
        assert second.stdout.readline() == "held\n"
        assert lock_holder(path) == second.pid
        second.kill()


def test_a_lock_that_nobody_holds_proves_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert lock_holder(str(path)) is None
    path.write_text(f"{os.getpid()} {start_ticks(os.getpid())}\n")
    assert lock_holder(str(path)) is None, "the pid is true, but the lock is free"


@pytest.mark.parametrize("text", ["", "garbage", "1", "1 2 3", "-5 7", "١ ٢"])
def test_a_held_lock_with_a_text_that_proves_nothing_names_nobody(tmp_path: Path, text: str) -> None:
    """Only a process that is proved to be ours may be ended."""
    path = tmp_path / "x.lock"
    held = take_lock(str(path))
    path.write_text(text)
    assert lock_holder(str(path)) is None
    os.close(held)


def test_a_pid_that_is_used_again_is_told_by_its_start_time(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    held = take_lock(str(path))
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    path.write_text(f"{os.getpid()} {ticks + 1}\n")
    assert lock_holder(str(path)) is None
    path.write_text(f"{os.getpid()} {ticks}\n")
    assert lock_holder(str(path)) == os.getpid()
    os.close(held)


def test_the_start_time_of_no_process_is_none() -> None:
    assert start_ticks(2**22 + 7) is None


CHILD = """
    import os, sys
    from bus.process import die_with_parent
    die_with_parent()
    print("ready", flush=True)
    sys.stdin.read()
"""
PARENT = """
    import subprocess, sys, textwrap
    command = [sys.executable, "-c", textwrap.dedent(sys.argv[1])]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
def test_a_service_dies_with_its_parent_and_not_while_that_only_hangs() -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert start_ticks(child) is not None
        os.kill(parent.pid, signal.SIGSTOP)
        wait_until(lambda: _state(parent.pid) == "T", WAIT_S, "the parent hangs")
        assert _state(child) in ("S", "R"), "a hung parent is no dead one"
        parent.kill()
        parent.wait()
    wait_until(lambda: _state(child) in ("", "Z"), WAIT_S, "the child is gone")


LATE = """
    import os, signal, threading
    from bus.process import SUPERVISOR_PID_ENVIRONMENT, die_with_parent
    print(os.getpid(), flush=True)
    while os.getppid() == int(os.environ[SUPERVISOR_PID_ENVIRONMENT]):
        threading.Event().wait(0.01)
    die_with_parent()
    signal.pause()
"""
SUPERVISOR = """
    import os, subprocess, sys, textwrap
    from bus.process import SUPERVISOR_PID_ENVIRONMENT
    os.environ[SUPERVISOR_PID_ENVIRONMENT] = str(os.getpid())
    subprocess.run([sys.executable, "-c", textwrap.dedent(sys.argv[1])])
"""


@pytest.mark.process
def test_a_service_whose_supervisor_dies_while_it_starts_does_not_live_on() -> None:
    """Found by torture: killed between fork and `die_with_parent`, supervisord left a service that nobody knew of."""
    command = [sys.executable, "-c", textwrap.dedent(SUPERVISOR), LATE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        supervisor.kill()
        supervisor.wait()
        try:
            wait_until(lambda: _state(child) in ("", "Z"), WAIT_S, "the child has noticed it")
        finally:
            if _state(child) not in ("", "Z"):
                os.kill(child, signal.SIGKILL)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


@pytest.mark.process
def test_signals_make_the_descriptor_readable() -> None:
    code = """
        import os, select, signal
        from bus.process import stop_signal_fd
        descriptor = stop_signal_fd()
        assert not select.select([descriptor], [], [], 0)[0]
        print("ready", flush=True)
        assert select.select([descriptor], [], [], 10)[0]
        os.read(descriptor, 9)
        print("told", flush=True)
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        with python(code) as asked:
            assert asked.stdout is not None
            assert asked.stdout.readline() == "ready\n"
            asked.send_signal(number)
            assert asked.stdout.readline() == "told\n"
            assert asked.wait(WAIT_S) == 0


def test_a_process_knows_that_its_supervisor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it ends, but nobody has told the station to."""
    monkeypatch.delenv(process.SUPERVISOR_PID_ENVIRONMENT, raising=False)
    assert not process.orphaned()
    monkeypatch.setenv(process.SUPERVISOR_PID_ENVIRONMENT, str(os.getppid()))
    assert not process.orphaned()
    monkeypatch.setenv(process.SUPERVISOR_PID_ENVIRONMENT, str(os.getpid()))
    assert process.orphaned()


def test_a_lock_that_is_no_file_of_ours_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        take_lock(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        take_lock(str(tmp_path / "missing" / "x.lock"))
    assert process.LOCK_WAIT_S > 0


def test_settling_gives_back_what_a_start_leaves_over_and_looks_no_more_for_garbage_in_the_rest() -> None:
    code = """
import gc, os
from bus.process import settle
def rss_kb(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
leftovers = [bytearray(2000) for _ in range(20000)]
kept = leftovers[::1000]
del leftovers
before_kb = rss_kb()
settle()
print(before_kb - rss_kb(), gc.get_freeze_count())
"""
    given_back_kb, frozen = map(
        int, subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split()
    )
    assert given_back_kb > 20_000
    assert frozen > 1000
