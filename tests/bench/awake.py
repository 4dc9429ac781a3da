"""Keeps the machine at its working speed while next to nothing runs on it.

Owns: one process of the lowest priority that copies memory; whoever wants to run takes its place at once. Does not: measure. A
machine that has nothing to do lowers the speed of its cores and of its memory, so that the same few instructions take several
times the CPU time; shares of a core that are compared with a budget, or with another day, are shares of a core that is awake.
"""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator

COPIED_BYTES = 64 << 20
"""More than the caches hold of it."""
_END_S = 10.0


@contextlib.contextmanager
def kept_awake() -> Iterator[None]:
    """From the first copy on until the end of the context."""
    command = [sys.executable, "-m", "tests.bench.awake"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline(), "the process that keeps the machine awake did not start"
        yield
        process.stdin.close()
        process.wait(_END_S)


def main() -> None:
    """Copy until the input ends, as it does with whoever asked for it."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    source, target = bytearray(COPIED_BYTES), bytearray(COPIED_BYTES)
    print("copying", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        target[:] = source


if __name__ == "__main__":
    main()
