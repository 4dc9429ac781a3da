"""What the same machine does without us, measured in the same run: the yardsticks of `design.md` §8.

Owns: a bare Python start, loop, rest and import of zmq and msgpack, a bare WebSocket echo, a bare pub/sub hop through zmq's own
proxy, a bare SQLite commit and fsync. Does not: use any code of ours.
"""

import os
import platform
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import websocket
import zmq
from websockets.sync.server import ServerConnection, serve

from tests.bench.figures import Figure, percentile

PYTHON_START = "bare Python start"
PYTHON_LOOP = "bare Python loop of a million"
PYTHON_RESTED = "bare Python, 1,000 objects after a rest"
PYTHON_IMPORTS = "import zmq, msgpack"
ECHO = "bare WebSocket echo"
HOP = "bare pub/sub hop through a proxy"
COMMIT = "bare SQLite commit, WAL and FULL"
FSYNC = "bare fsync after a write of 4 kB"
_STARTS = 7
_ROUNDS = 500
_WARM_UP = 50
_RESTS = 15
_REST_S = 0.2
_OBJECTS, _STRIDE = 1_000, 200


def measure(directory: Path) -> Iterator[Figure]:
    """All yardsticks; databases and sockets go into `directory`."""
    yield Figure(PYTHON_START, _process_s("pass") * 1000, "ms")
    loop_ms = percentile(timed_ms(_loop, _STARTS, warm_up=1), 50)
    yield Figure(PYTHON_LOOP, loop_ms, "ms", detail=f"Python {platform.python_version()} of {sys.base_prefix}")
    yield _rested()
    yield Figure(PYTHON_IMPORTS, _process_s("import zmq, msgpack") * 1000, "ms")
    yield Figure(ECHO, _echo_ms(), "ms", detail=f"median of {_ROUNDS}")
    yield Figure(HOP, _hop_ms(directory), "ms", detail=f"median of {_ROUNDS}, ipc, there only")
    yield Figure(COMMIT, commit_ms(directory), "ms", detail=f"median of {_ROUNDS}, one row of 300 bytes")
    yield Figure(FSYNC, fsync_ms(directory), "ms", detail=f"median of {_ROUNDS}")


def timed_ms(act: Callable[[], object], rounds: int = _ROUNDS, *, warm_up: int = _WARM_UP) -> list[float]:
    """Milliseconds of each of `rounds` calls, after `warm_up` that do not count."""
    for _ in range(warm_up):
        act()
    found = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        act()
        found.append((time.perf_counter() - began_s) * 1000)
    return found


def _loop() -> None:
    total = 0
    for number in range(1_000_000):
        total += number


def _rested() -> Figure:
    """What idle processes meet at each of their wake-ups: memory that no cache holds any more. CPU time."""
    objects = [str(number) * 3 for number in range(_OBJECTS * _STRIDE)]

    def touch_ms() -> float:
        began_s = time.thread_time()
        for number in range(0, len(objects), _STRIDE):
            len(objects[number])
        return (time.thread_time() - began_s) * 1000

    at_once_ms = percentile([touch_ms() for _ in range(_RESTS)], 50)
    rested_ms = []
    for _ in range(_RESTS):
        threading.Event().wait(_REST_S)
        rested_ms.append(touch_ms())
    detail = f"CPU time; without the rest of {_REST_S} s {at_once_ms:.3f} ms"
    return Figure(PYTHON_RESTED, percentile(rested_ms, 50), "ms", detail=detail)


def _process_s(code: str) -> float:
    def once() -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    return percentile(timed_ms(once, _STARTS, warm_up=1), 50) / 1000


def _echo_ms() -> float:
    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        client = websocket.create_connection(f"ws://127.0.0.1:{server.socket.getsockname()[1]}/")

        def once() -> None:
            client.send('[2,"19223201","Heartbeat",{}]')
            client.recv()

        median = percentile(timed_ms(once), 50)
        client.close()
        server.shutdown()
    thread.join()
    return median


def _hop_ms(directory: Path) -> float:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    front, back = f"ipc://{directory}/yard-in", f"ipc://{directory}/yard-out"
    inside, outside = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    inside.bind(front)
    outside.bind(back)
    threading.Thread(target=_proxy, args=(inside, outside), daemon=True).start()
    publisher, subscriber = context.socket(zmq.PUB), context.socket(zmq.SUB)
    publisher.connect(front)
    subscriber.connect(back)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"a.")
    while not subscriber.poll(10):
        publisher.send_multipart([b"a.", b"attach"])
    while subscriber.poll(50):
        subscriber.recv_multipart()

    def once() -> None:
        publisher.send_multipart([b"a.", b"x" * 100])
        subscriber.recv_multipart()

    median = percentile(timed_ms(once), 50)
    context.destroy(linger=0)
    return median


def _proxy(inside: "zmq.Socket[bytes]", outside: "zmq.Socket[bytes]") -> None:
    try:
        zmq.proxy(inside, outside)
    except zmq.ZMQError:
        inside.close(0)
        outside.close(0)


def commit_ms(directory: Path) -> float:
    """Median of a bare commit on that disk."""
    database = sqlite3.connect(directory / "yardstick.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS rows (body TEXT)")
    median = percentile(timed_ms(lambda: database.execute("INSERT INTO rows VALUES (?)", ("x" * 300,))), 50)
    database.close()
    return median


def fsync_ms(directory: Path) -> float:
    """The median of a write of 4 kB to a file there and its fdatasync."""
    descriptor = os.open(directory / "yardstick.bin", os.O_CREAT | os.O_WRONLY)

    def once() -> None:
        os.write(descriptor, b"x" * 4096)
        os.fdatasync(descriptor)

    median = percentile(timed_ms(once), 50)
    os.close(descriptor)
    return median
