"""The one runtime of all services: a poll loop on one deciding thread (design §2).

Owns: process set-up, the loop, health. Does not: decide anything that concerns charging.

A service's `__main__` calls `run("meter", build)`. `build(runtime)` wires handlers and returns an `Application`; from then
on the loop feeds it: bus messages through `runtime.node`, mailboxes of byte-moving threads through `runtime.read`, time
through `tick` at `next_deadline_s`. A handler that raises ends the process with one clear log line; supervisord starts it
again, and what matters is on disk.
"""

import argparse
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import msgspec
import zmq

from bus import logs, process, sockets
from bus.calls import IncomingCall
from bus.clock import boottime_ns, boottime_s
from bus.device_messages import DeviceFrame, ReadTrace, Trace
from bus.disk import Disk, is_full
from bus.mailbox import Mailbox
from bus.messages import DeviceHealth, Problem, ServiceHealth
from bus.node import Node
from bus.salvage import Schema, open_store
from bus.topics import topic_of
from bus.version import VERSION

T = TypeVar("T")

RUN_DIRECTORY = "run"
"""Below the state directory: sockets and locks. Every process works in it, by relative names (design §2)."""
BURST_MAX = 500
"""Bus messages handled before timers and threads are looked at."""
POLL_S_MAX = 3600.0
"""zmq takes 2^31 ms at most."""


class Stopping:
    """Whether SIGTERM or SIGINT came."""

    def __init__(self) -> None:
        self._fd = process.stop_signal_fd()
        self._requested = False

    def fileno(self) -> int:
        """Readable when a signal came."""
        return self._fd

    def requested(self) -> bool:
        """True from the first signal on."""
        if not self._requested:
            with contextlib.suppress(BlockingIOError):
                self._requested = bool(os.read(self._fd, 100))
        return self._requested

    def request(self) -> None:
        """End the loop as if a signal had come."""
        self._requested = True


class Process(msgspec.Struct, frozen=True):
    """A process that has been set up: where it works and how it is told to stop."""

    config_path: str
    state_dir: str
    virtual: bool
    log: logs.Logger
    stopping: Stopping


class Application(Protocol):
    """A service as the loop sees it."""

    def tick(self) -> None:
        """Called after every batch of input and when `next_deadline_s` is reached."""

    def next_deadline_s(self) -> float | None:
        """Boottime of the next `tick` that time alone demands."""

    def close(self) -> None:
        """The process ends in good order, within a second: join threads, close files."""


class Runtime:
    """What a service gets to work with."""

    def __init__(self, service: str, own: Process) -> None:
        self.service = service
        self.process = own
        self.log = own.log
        self.node = Node(service, incarnation=boottime_ns(), now=boottime_s, log=own.log)
        self._started_s = boottime_s()
        self.config_parts: dict[str, int] = {}
        """What the service has read of station.toml, as digests by part; its health tells them."""
        self._problems: dict[str, Problem] = {}
        self._devices: dict[str, DeviceHealth] = {}
        self._traces: dict[str, Callable[[], tuple[DeviceFrame, ...]]] = {}
        self._readers: dict[int, Callable[[], None]] = {}
        self._poller = zmq.Poller()
        self._health_changed = True
        self._health_stale = False
        self._health_published_s = 0.0

    def read(self, mailbox: Mailbox[T], handler: Callable[[T], None]) -> None:
        """Hand each item that a thread puts into `mailbox` to `handler`, on the deciding thread."""

        def drain() -> None:
            for item in mailbox.drain():
                handler(item)

        self._readers[mailbox.fileno()] = drain
        self._poller.register(mailbox.fileno(), zmq.POLLIN)

    def set_problem(self, name: str, text: str | None) -> None:
        """Raise, reword or clear (None) a problem of this service; people see it in `station status`."""
        known = self._problems.get(name)
        if text is None:
            self._health_changed |= self._problems.pop(name, None) is not None
        elif known is None or known.text != text:
            since_s = boottime_s() if known is None else known.since_boottime_s
            self._problems[name] = Problem(text, since_s)
            self._health_changed = True

    def set_device(self, device: DeviceHealth) -> None:
        """Say how a device of this service is; counters alone travel with the next refresh."""
        known = self._devices.get(device.name)
        self._health_changed |= known is None or (known.connected, known.detail) != (device.connected, device.detail)
        self._health_stale |= known != device
        self._devices[device.name] = device

    def trace_device(self, name: str, frames: Callable[[], tuple[DeviceFrame, ...]]) -> None:
        """Show a device's last frames to who asks for them over the bus."""
        if not self._traces:
            self.node.serve(ReadTrace, self._trace_asked)
        self._traces[name] = frames

    def _trace_asked(self, request: ReadTrace, call: IncomingCall) -> None:
        frames = self._traces.get(request.device)
        if frames is None:
            call.refuse(f"{self.service} has no device {request.device}")
        else:
            call.answer(Trace(frames()))

    def open_store(self, path: str, schema: Schema) -> sqlite3.Connection:
        """The service's database, fit to be used; what was wrong with it is a problem of this run. Raises as `salvage` does."""
        opened = open_store(path, schema)
        self.report_store(os.path.basename(path), opened.problem)
        return opened.database

    def report_store(self, name: str, problem: str) -> None:
        """Say loudly what was wrong with a database; empty: nothing."""
        if problem:
            self.set_problem(name, problem)
            self.log.error("database was damaged, the service goes on with what could be saved", reason=problem)

    def loop(self, build: "Callable[[Runtime], Application]") -> None:
        """Build the application and feed it until the process is told to stop."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        application = build(self)
        process.settle()
        outgoing, incoming = sockets.publisher(context), sockets.subscriber(context)
        for prefix in self.node.subscriptions():
            incoming.setsockopt(zmq.SUBSCRIBE, prefix)
        for source in (outgoing, incoming, self.process.stopping.fileno()):
            self._poller.register(source, zmq.POLLIN)
        try:
            while not self.process.stopping.requested():
                self._publish_health()
                self._flush(outgoing)
                ready = dict(self._poller.poll(self._timeout_ms(application)))
                if outgoing in ready:
                    self._watch_broker(outgoing)
                if incoming in ready:
                    self.node.receive_all(_waiting(incoming))
                for descriptor, handler in self._readers.items():
                    if descriptor in ready:
                        handler()
                self._send(outgoing)
                self.node.tick()
                application.tick()
            self._flush(outgoing)
        finally:
            application.close()
            self._send(outgoing)
            outgoing.close()
            incoming.close()
            context.term()

    def _timeout_ms(self, application: Application) -> int | None:
        deadlines = (self.node.next_deadline_s(), application.next_deadline_s())
        deadline_s = min((d for d in deadlines if d is not None), default=None)
        if deadline_s is None:
            return None
        rest_s = min(deadline_s - boottime_s(), POLL_S_MAX)
        return max(0, int(rest_s * 1000) + 1)

    def _watch_broker(self, outgoing: "zmq.Socket[bytes]") -> None:
        while True:
            try:
                message = outgoing.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if message[:1] == bytes([sockets.SUBSCRIBED]):
                self.node.broker_attached()

    def _flush(self, outgoing: "zmq.Socket[bytes]") -> None:
        self._send(outgoing)
        while self.node.do_afterwards():
            self._send(outgoing)

    def _send(self, outgoing: "zmq.Socket[bytes]") -> None:
        for frame in self.node.take_outgoing():
            sockets.send(outgoing, frame)

    def _publish_health(self) -> None:
        due_s = self._health_published_s + topic_of(ServiceHealth).period_s
        if self._health_changed or (self._health_stale and boottime_s() >= due_s):
            self._health_changed = self._health_stale = False
            self._health_published_s = boottime_s()
            health = ServiceHealth(
                pid=os.getpid(),
                version=VERSION,
                started_boottime_s=self._started_s,
                problems=tuple(self._problems.values()),
                devices=tuple(self._devices.values()),
                undecodable=self.node.undecodable,
                config_parts=self.config_parts,
            )
            self.node.publish(health, self.service)


def _waiting(incoming: "zmq.Socket[bytes]") -> Iterator[list[bytes]]:
    """What has arrived, and what arrives while that is being handled."""
    for _ in range(BURST_MAX):
        frames = sockets.take(incoming)
        if frames is None:
            return
        yield frames


@contextlib.contextmanager
def prepare_process(service: str) -> Iterator[Process]:
    """Command line, log, lock, signals, working directory; ends the process with one clear line on an exception."""
    parser = argparse.ArgumentParser(prog=f"python -m {'bus' if service == 'broker' else 'services'}.{service}")
    parser.add_argument("--config", required=True, help="station.toml")
    parser.add_argument("--state-dir", required=True, help="directory with databases, sockets and logs")
    parser.add_argument("--virtual", action="store_true", help="devices are those of services.simulator")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    arguments = parser.parse_args()
    logs.set_up(service, level=arguments.log_level)
    log = logs.logger(service)
    try:
        process.die_with_parent()
        config_path, state_dir = os.path.abspath(arguments.config), os.path.abspath(arguments.state_dir)
        os.makedirs(os.path.join(state_dir, RUN_DIRECTORY), mode=0o700, exist_ok=True)
        os.chdir(os.path.join(state_dir, RUN_DIRECTORY))
        lock = process.take_lock(f"{service}.lock")
        own = Process(config_path, state_dir, arguments.virtual, log, Stopping())
        log.info("started", pid=os.getpid(), version=VERSION)
        yield own
        log.info("stopped")
        os.close(lock)
    except process.AlreadyRunning as error:
        log.error(f"{service} runs already, this one ends", reason=error)
        raise SystemExit(1) from None
    except Exception as error:
        if is_full(error) and Disk("..").release_ballast():
            log.error("disk is full, the ballast is given back so that running transactions can be ended")
        log.error(f"{service} ends because of an error of its own, supervisord starts it again", reason=repr(error))
        logs.log_traceback(service)
        raise SystemExit(1) from None


def run(service: str, build: Callable[[Runtime], Application]) -> int:
    """A service's whole life; its exit code."""
    with prepare_process(service) as own:
        Runtime(service, own).loop(build)
    return 0
