"""What is measured, under which name (pure). Names and units as Prometheus' conventions want them.

Owns: the list. Does not: gather (`__main__.py`) or spell (`exposition.py`). A value that is not known now is absent, never 0.
"""

import msgspec

from bus.latency_messages import BOUNDS_S, LinkTimes
from bus.messages import ClockState, LinkState, MeterState, Moment, QueueState, ServiceHealth, WatchdogState
from services.metrics.exposition import Exposition


class ProcessFigures(msgspec.Struct, frozen=True):
    """One process, as the kernel counts; None: it can't be read."""

    memory_bytes: int | None = None
    """Its proportional set size: what is shared counts for each by its part."""
    written_bytes: int | None = None
    """What it has caused to be written to the disk since it began."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known now. Times are boottime seconds; what the bus does not know is None, or missing in its dictionary."""

    now_s: float
    boot_id: str
    system_utc_s: float
    version: str
    link: LinkState | None = None
    last_received_s: float | None = None
    """When the Central System was heard last, on whatever connection."""
    clock: ClockState | None = None
    queue: QueueState | None = None
    meters: dict[str, MeterState] = {}
    readings_s: dict[str, float] = {}
    """When each connector's meter was last read, by number."""
    healths: dict[str, ServiceHealth] = {}
    watchdog: WatchdogState | None = None
    times: LinkTimes | None = None
    processes: dict[str, ProcessFigures] = {}


def text(facts: Facts) -> str:
    """All metrics."""
    out = Exposition()
    out.family("chargebus_build_info", "gauge", "The release that runs; the value is always 1.")
    out.sample(1, version=facts.version)
    _link(out, facts)
    _clock(out, facts)
    _queue(out, facts)
    _meters(out, facts)
    _services(out, facts)
    _processes(out, facts)
    _times(out, facts)
    return out.text()


def _link(out: Exposition, facts: Facts) -> None:
    link = facts.link
    out.family("chargebus_link_connected", "gauge", "Whether there is a connection to the Central System.")
    out.sample(None if link is None else int(link.connected))
    out.family("chargebus_link_accepted", "gauge", "Whether the Central System has accepted this station, and is connected.")
    out.sample(None if link is None else int(link.online))
    out.family("chargebus_link_last_received_age_seconds", "gauge", "Since the Central System was last heard.")
    out.sample(_age_s(facts, facts.last_received_s))
    out.family("chargebus_link_connections_total", "counter", "Connections made; each but the first is a reconnect.")
    out.sample(None if link is None else link.connection)


def _clock(out: Exposition, facts: Facts) -> None:
    clock = facts.clock
    offset_s = None
    if clock is not None and clock.utc_offset_s is not None:
        offset_s = round(facts.now_s + clock.utc_offset_s - facts.system_utc_s, 3)
    out.family("chargebus_clock_offset_seconds", "gauge", "The believed time minus the system clock.")
    out.sample(offset_s)
    out.family("chargebus_clock_source_info", "gauge", "Which clock is believed; the value is always 1.")
    if clock is not None:
        out.sample(1, source=clock.source)


def _queue(out: Exposition, facts: Facts) -> None:
    queue = facts.queue
    out.family("chargebus_queue_messages", "gauge", "Transaction messages that the Central System has not answered yet.")
    out.sample(None if queue is None else queue.depth)
    out.family("chargebus_queue_oldest_age_seconds", "gauge", "For how long the oldest of them waits; absent: none waits.")
    out.sample(None if queue is None or queue.oldest_at is None else _moment_age_s(facts, queue.oldest_at))
    out.family("chargebus_queue_dead_letters", "gauge", "Transaction messages that were given up and are kept.")
    out.sample(None if queue is None else queue.dead_letters)


def _meters(out: Exposition, facts: Facts) -> None:
    out.family("chargebus_meter_reading_age_seconds", "gauge", "Since a connector's meter last gave a trustworthy reading.")
    for number, read_s in sorted(facts.readings_s.items()):
        out.sample(_age_s(facts, read_s), connector=number)
    out.family("chargebus_meter_trusted", "gauge", "Whether a connector's meter can be trusted.")
    for number, meter in sorted(facts.meters.items()):
        out.sample(int(not meter.failure), connector=number)


def _services(out: Exposition, facts: Facts) -> None:
    out.family("chargebus_service_problems", "gauge", "What a service says is wrong with it; absent: it is not heard.")
    for name, health in sorted(facts.healths.items()):
        broken = sum(not device.connected for device in health.devices)
        out.sample(len(health.problems) or broken, service=name)
    out.family("chargebus_service_start_time_seconds", "gauge", "When a service's process began, Unix time.")
    clock = facts.clock
    if clock is not None and clock.utc_offset_s is not None:
        for name, health in sorted(facts.healths.items()):
            out.sample(round(health.started_boottime_s + clock.utc_offset_s, 3), service=name)
    out.family("chargebus_service_restarts_total", "counter", "Restarts of a service that the watchdog has seen.")
    if facts.watchdog is not None:
        # Its own restarts it can't see.
        for name in sorted({*facts.healths, *facts.watchdog.restarts} - {"watchdog"}):
            out.sample(facts.watchdog.restarts.get(name, 0), service=name)


def _processes(out: Exposition, facts: Facts) -> None:
    out.family("chargebus_process_memory_pss_bytes", "gauge", "Memory of a process, what is shared by its part (PSS).")
    for name, process in sorted(facts.processes.items()):
        out.sample(process.memory_bytes, service=name)
    out.family("chargebus_process_written_bytes_total", "counter", "What a process has had written to the disk.")
    for name, process in sorted(facts.processes.items()):
        out.sample(process.written_bytes, service=name)


def _times(out: Exposition, facts: Facts) -> None:
    if facts.times is None:
        return
    out.family("chargebus_ocpp_handling_seconds", "histogram", "From a call of the Central System to the station's answer.")
    for action, times in sorted(facts.times.handled.items()):
        out.histogram(BOUNDS_S, times.counts, times.sum_s, action=action)
    out.family("chargebus_ocpp_response_seconds", "histogram", "From a call of the station to the Central System's answer.")
    for action, times in sorted(facts.times.answered.items()):
        out.histogram(BOUNDS_S, times.counts, times.sum_s, action=action)


def _age_s(facts: Facts, at_s: float | None) -> float | None:
    return None if at_s is None else round(max(0.0, facts.now_s - at_s), 3)


def _moment_age_s(facts: Facts, at: Moment) -> float | None:
    if at.boot_id == facts.boot_id:
        return _age_s(facts, at.boottime_ms / 1000)
    clock = facts.clock
    if at.utc_ms is None or clock is None or clock.utc_offset_s is None:
        return None
    return round(max(0.0, facts.now_s + clock.utc_offset_s - at.utc_ms / 1000), 3)
