"""A process that outlives its parent and ignores SIGTERM, with a lock that proves it to be the station's own."""

import signal
import sys

from bus.process import take_lock

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_lock(sys.argv[1])
    print("ready", flush=True)
    while True:
        signal.pause()
