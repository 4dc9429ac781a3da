"""The metrics process: `python -m services.metrics`, only where station.toml has [metrics].

Topics: publishes none; reads link., clock., queue., meter.sample., meter.state., service.health., watchdog., link_times.

Owns: the address that scrapes come to, what is remembered between them. Does not: decide anything; when it is gone, the station
misses nothing.
"""

import contextlib
import os

from bus.clock import boottime_s, hardware_boot_id, system_utc_s
from bus.latency_messages import LinkTimes
from bus.mailbox import Mailbox
from bus.messages import ClockState, LinkState, MeterSample, MeterState, QueueState, ServiceHealth, WatchdogState
from bus.runtime import Runtime, run
from bus.version import VERSION
from services.configuration import listen
from services.configuration.at_start import load_for
from services.metrics import figures
from services.metrics.kernel import process_figures
from services.metrics.server import CONNECTIONS_MAX, Server, listener

RETRY_S = 10.0
"""An address that can't be listened at is tried again after so long."""

FRESH_S = 1.0
"""So old a text is served again, so that who scrapes without a pause costs little."""


class MetricsProcess:
    """Answers scrapes with what the bus says at that moment. An `Application` of `bus.runtime`."""

    def __init__(self, runtime: Runtime, where: listen.Tcp | listen.Unix | None) -> None:
        """`where` None: station.toml has lost the section since the station was started."""
        self._runtime = runtime
        if where is None:
            runtime.set_problem("listen", "station.toml has no [metrics] any more; end the station and start it anew")
        self._where = where
        self._server: Server | None = None
        self._retry_s = 0.0
        self._text, self._text_due_s = "", 0.0
        self._last_received_s: float | None = None
        self._readings_s: dict[str, float] = {}
        self._meters: set[str] = set()
        self._services: set[str] = set()
        node = runtime.node
        node.watch(LinkState, lambda _, link: self._link_said(link))
        node.watch(MeterSample, self._read)
        node.watch(MeterState, lambda key, _: self._meters.add(key))
        node.watch(ServiceHealth, lambda name, _: self._services.add(name))
        for message in (ClockState, QueueState, WatchdogState, LinkTimes):
            node.watch(message, lambda *_: None)
        self._questions: Mailbox[int] = Mailbox(CONNECTIONS_MAX)
        runtime.read(self._questions, self._asked)

    def tick(self) -> None:
        """Time passed."""
        if self._server is not None and not self._server.alive():
            raise RuntimeError("the thread that serves scrapes has ended")
        if self._where is not None and self._server is None and boottime_s() >= self._retry_s:
            self._open(self._where)

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        return self._retry_s if self._where is not None and self._server is None else None

    def close(self) -> None:
        """End the thread."""
        if self._server is not None:
            self._server.stop()
            if isinstance(self._where, listen.Unix):
                with contextlib.suppress(OSError):
                    os.unlink(self._where.path)

    def _open(self, where: listen.Tcp | listen.Unix) -> None:
        name = where.path if isinstance(where, listen.Unix) else f"{where.host}:{where.port}"
        try:
            self._server = Server(listener(where), self._questions)
        except OSError as error:
            self._retry_s = boottime_s() + RETRY_S
            text = f"can't listen at {name} ({error.strerror}); see [metrics] listen in station.toml"
            self._runtime.set_problem("listen", text)
            self._runtime.log.warning("metrics are not served", reason=text)
            return
        self._server.start()
        self._runtime.set_problem("listen", None)
        self._runtime.log.info("metrics are served", listen=name)

    def _link_said(self, link: LinkState) -> None:
        if link.last_received_boottime_s is not None:
            self._last_received_s = link.last_received_boottime_s

    def _read(self, key: str, sample: MeterSample) -> None:
        self._readings_s[key] = sample.read_boottime_s

    def _asked(self, number: int) -> None:
        assert self._server is not None, "a question without a server"
        now_s = boottime_s()
        if now_s >= self._text_due_s:
            self._text, self._text_due_s = figures.text(self._facts()), now_s + FRESH_S
        self._server.answer(number, self._text)

    def _facts(self) -> figures.Facts:
        latest = self._runtime.node.latest
        healths = {name: health for name in self._services if (health := latest(ServiceHealth, name)) is not None}
        found = {name: process_figures(health.pid, health.started_boottime_s) for name, health in healths.items()}
        found["supervisord"] = process_figures(os.getppid())
        return figures.Facts(
            now_s=boottime_s(),
            boot_id=hardware_boot_id(),
            system_utc_s=system_utc_s(),
            version=VERSION,
            link=latest(LinkState),
            last_received_s=self._last_received_s,
            clock=latest(ClockState),
            queue=latest(QueueState),
            meters={key: state for key in self._meters if (state := latest(MeterState, key)) is not None},
            readings_s=self._readings_s,
            healths=healths,
            watchdog=latest(WatchdogState),
            times=latest(LinkTimes),
            processes={name: process for name, process in found.items() if process is not None},
        )


def build(runtime: Runtime) -> MetricsProcess:
    """The process as the runtime wants it."""
    config = load_for(runtime)
    return MetricsProcess(runtime, None if config.metrics is None else listen.parsed(config.metrics.listen))


if __name__ == "__main__":
    raise SystemExit(run("metrics", build))
