"""Judges whether a station is well, from facts. Pure: no clock, no bus, no files.

Owns: what counts as not well, and the words for it. Does not: gather facts (`status.py`) or lay out lines (`layout.py`).
"""

from collections.abc import Iterator

import msgspec

from bus.logs import utc_text
from bus.messages import ConnectorState, MeterSample, Moment
from bus.vocabulary import ChargePointErrorCode, ChargePointStatus, masked_id_tag
from services.station.facts import (
    ClockReport,
    ConnectorReport,
    DeviceReport,
    Facts,
    LinkReport,
    LocalListReport,
    QueueReport,
    ReadingReport,
    Reason,
    Report,
    ReservationReport,
    ServiceFacts,
    ServiceReport,
    TransactionReport,
)

STARTING_S = 10.0
"""A service that has run for less and is not heard yet is taken to be starting."""
RESET_TOLD_S = 86400.0
"""A reset by the hardware watchdog is old news after a day."""


def report(facts: Facts) -> Report:
    """The whole answer."""
    services = {service.name: _service(facts, service) for service in facts.services}
    reasons = tuple(_reasons(facts, services))
    return Report(
        well=not reasons,
        reasons=reasons,
        warnings=tuple(_warnings(facts)),
        state_dir=facts.state_dir,
        config=facts.config,
        virtual=facts.virtual,
        uptime_s=facts.uptime_s,
        supervisord=not facts.supervisor_error,
        supervisord_pid=facts.supervisor_pid,
        bus=facts.bus_attached,
        services=services,
        link=_link(facts),
        clock=_clock(facts),
        connectors={key: _connector(facts, key, state) for key, state in sorted(facts.connectors.items(), key=_by_number)},
        queue=_queue(facts),
        reader=None if facts.reader is None else facts.reader.failure,
        local_list=_local_list(facts),
    )


def _reasons(facts: Facts, services: dict[str, ServiceReport]) -> Iterator[Reason]:
    if facts.supervisor_error:
        yield Reason(facts.supervisor_error)
    if facts.disk_trouble:
        yield Reason(f"{facts.disk_trouble}, and nothing that bills can be kept: make room, or check the disk and start anew")
    if not facts.bus_attached:
        yield Reason("the bus does not answer, so only the processes are known")
    for service in facts.services:
        yield from _service_reasons(service, services[service.name])
    troubled = {name for name, service in services.items() if service.health not in ("well", "unknown")}
    yield from _link_reasons(facts, troubled)
    yield from _connector_reasons(facts, troubled)
    yield from _device_reasons(facts, troubled)
    if facts.queue is not None and facts.queue.dead_letters and "transaction_queue" not in troubled:
        yield Reason(f"transaction messages that were given up and are kept: {facts.queue.dead_letters}")


def not_applied(facts: Facts) -> Iterator[Reason]:
    """What of station.toml the running station does not go by yet, and what to do about it."""
    if facts.programs_changed:
        sections = " and ".join(f"[{name}]" for name in facts.programs_changed)
        yield Reason(f"{sections} of station.toml was added or removed: end the station and start it anew")
    if facts.behind:
        parts = dict.fromkeys(part for changed in facts.behind.values() for part in changed)
        names = [service.name for service in facts.services if service.name in facts.behind]
        yield Reason(f"{', '.join(parts)} of station.toml changed: station restart {' '.join(names)}")


def _warnings(facts: Facts) -> Iterator[Reason]:
    if facts.config_problem:
        yield Reason(f"station.toml is wrong now, no service would start again: {facts.config_problem}")
    yield from not_applied(facts)
    for key, state in sorted(facts.connectors.items(), key=_by_number):
        if state.out_of_service_since is not None:
            name = "the charge point" if key == "0" else f"connector {key}"
            yield Reason(f"{name} is out of service by a command at the station", _age_s(facts, state.out_of_service_since))
    if facts.watchdog is not None and facts.watchdog.board_was_reset and facts.now_boottime_s < RESET_TOLD_S:
        yield Reason("the hardware watchdog has reset the board", round(facts.now_boottime_s, 3))


def _service_reasons(facts: ServiceFacts, service: ServiceReport) -> Iterator[Reason]:
    match service.health:
        case "down":
            yield Reason(f"{facts.name} is down ({_why_down(facts)})")
        case "silent":
            yield Reason(f"{facts.name} runs but is not heard on the bus", service.uptime_s)
        case "starting":
            yield Reason(f"{facts.name} is starting", service.uptime_s)
        case "problem":
            for problem in service.problems:
                yield Reason(f"{facts.name}: {problem.text}", problem.for_s)
            if not service.problems:
                for device in service.devices:
                    if not device.connected:
                        yield Reason(f"{facts.name}: {device.name} does not answer: {device.detail}")


def _why_down(facts: ServiceFacts) -> str:
    if facts.state == "BACKOFF":
        return f"it ends right after each start, `station logs {facts.name}` says why"
    if not facts.state:
        return "it is not heard on the bus"
    return facts.state + (f": {facts.error}" if facts.error else "")


def _link_reasons(facts: Facts, troubled: set[str]) -> Iterator[Reason]:
    link = facts.link
    if link is None:
        if facts.bus_attached and "ocpp_link" not in troubled:
            yield Reason("nothing is known of the link to the Central System")
        return
    if not link.connected:
        silent_s = _since(facts, link.last_received_boottime_s)
        yield Reason(f"not connected to the Central System{': ' + link.detail if link.detail else ''}", silent_s)
    elif not link.online:
        said = link.registration.value if link.registration else "no answer to BootNotification yet"
        yield Reason(f"not accepted by the Central System ({said})")
    if facts.clock is not None and facts.clock.utc_offset_s is None:
        yield Reason("the time is not known")


def _connector_reasons(facts: Facts, troubled: set[str]) -> Iterator[Reason]:
    if facts.bus_attached and not facts.connectors and "connectors" not in troubled:
        yield Reason("nothing is known of the connectors")
    for key, state in sorted(facts.connectors.items(), key=_by_number):
        if state.status is ChargePointStatus.FAULTED or state.error_code is not ChargePointErrorCode.NO_ERROR:
            name = "the charge point" if key == "0" else f"connector {key}"
            info = f", {state.info}" if state.info else ""
            yield Reason(f"{name}: {state.status.value}, {state.error_code.value}{info}", _age_s(facts, state.at))


def _device_reasons(facts: Facts, troubled: set[str]) -> Iterator[Reason]:
    if "meter" not in troubled:
        for key, meter in sorted(facts.meters.items(), key=_by_number):
            if meter.failure:
                yield Reason(f"meter of connector {key}: {meter.failure}")
    if "rfid" not in troubled and facts.reader is not None and facts.reader.failure:
        yield Reason(f"reader: {facts.reader.failure}")


def _service(facts: Facts, service: ServiceFacts) -> ServiceReport:
    health = service.health
    problems: tuple[Reason, ...] = ()
    devices: tuple[DeviceReport, ...] = ()
    if health is not None:
        problems = tuple(Reason(problem.text, _since(facts, problem.since_boottime_s)) for problem in health.problems)
        devices = tuple(msgspec.convert(device, DeviceReport, from_attributes=True) for device in health.devices)
    return ServiceReport(
        state=service.state or "unknown",
        pid=service.pid,
        uptime_s=service.uptime_s,
        health=_health_word(facts, service),
        problems=problems,
        devices=devices,
    )


def _health_word(facts: Facts, service: ServiceFacts) -> str:
    if service.state and service.state not in ("RUNNING", "STARTING"):
        return "down"
    if not service.on_bus:
        return "well" if service.state else "unknown"
    health = service.health
    if health is None or (service.state and health.pid != service.pid):
        # What a process said that has ended since is nothing about the one that runs now.
        if not facts.bus_attached:
            return "unknown"
        if not service.state:
            return "down"
        young = service.uptime_s is not None and service.uptime_s < STARTING_S
        return "starting" if young else "silent"
    return "problem" if health.problems or any(not device.connected for device in health.devices) else "well"


def _link(facts: Facts) -> LinkReport | None:
    link = facts.link
    if link is None:
        return None
    registration = link.registration.value if link.registration else None
    return LinkReport(link.connected, registration, link.online, _since(facts, link.last_received_boottime_s), link.detail)


def _clock(facts: Facts) -> ClockReport | None:
    clock = facts.clock
    if clock is None:
        return None
    known = clock.utc_offset_s is not None
    return ClockReport(clock.source, utc_text(_utc_now_s(facts)) if known else None)


def _connector(facts: Facts, key: str, state: ConnectorState) -> ConnectorReport:
    sample = facts.samples.get(key)
    return ConnectorReport(
        status=state.status.value,
        error_code=state.error_code.value,
        info=state.info,
        for_s=_age_s(facts, state.at),
        plugged=state.plugged,
        relay_closed=state.relay_closed,
        offered_a=state.offered_a,
        transaction=_transaction(facts, state, sample),
        reading=_reading(facts, sample),
        reservation=_reservation(state),
        out_of_service=state.out_of_service_since is not None,
        out_of_service_for_s=None if state.out_of_service_since is None else _age_s(facts, state.out_of_service_since),
    )


def _reservation(state: ConnectorState) -> ReservationReport | None:
    kept = state.reservation
    if kept is None:
        return None
    return ReservationReport(kept.reservation_id, masked_id_tag(kept.id_tag), utc_text(kept.expiry_utc_ms / 1000))


def _transaction(facts: Facts, state: ConnectorState, sample: MeterSample | None) -> TransactionReport | None:
    running = state.transaction
    if running is None:
        return None
    # A register below the start is another meter's; the sum of its segments is known to `connectors` alone.
    same_meter = sample is not None and sample.energy_import_wh >= running.meter_start_wh
    return TransactionReport(
        local_tx_id=running.local_tx_id,
        transaction_id=running.transaction_id,
        id_tag=masked_id_tag(running.id_tag),
        for_s=_age_s(facts, running.started_at),
        meter_start_wh=running.meter_start_wh,
        energy_wh=sample.energy_import_wh - running.meter_start_wh if sample is not None and same_meter else None,
        stopping=running.stopping,
    )


def _reading(facts: Facts, sample: MeterSample | None) -> ReadingReport | None:
    if sample is None:
        return None
    age_s = max(0.0, facts.now_boottime_s - sample.read_boottime_s)
    return ReadingReport(round(age_s, 3), sample.energy_import_wh, sample.power_w, sample.currents_a, sample.voltages_v)


def _queue(facts: Facts) -> QueueReport | None:
    queue = facts.queue
    if queue is None:
        return None
    age_s = None if queue.oldest_at is None else _age_s(facts, queue.oldest_at)
    return QueueReport(queue.depth, queue.dead_letters, age_s, queue.detail)


def _local_list(facts: Facts) -> LocalListReport | None:
    known = facts.local_list
    return None if known is None else LocalListReport(known.enabled, known.version, known.entries)


def _utc_now_s(facts: Facts) -> float:
    if facts.clock is not None and facts.clock.utc_offset_s is not None:
        return facts.now_boottime_s + facts.clock.utc_offset_s
    return facts.system_utc_s


def _age_s(facts: Facts, moment: Moment) -> float | None:
    if moment.boot_id == facts.boot_id:
        return round(max(0.0, facts.now_boottime_s - moment.boottime_ms / 1000), 3)
    if moment.utc_ms is not None:
        return round(max(0.0, _utc_now_s(facts) - moment.utc_ms / 1000), 3)
    return None


def _since(facts: Facts, boottime_s: float | None) -> float | None:
    return None if boottime_s is None else round(max(0.0, facts.now_boottime_s - boottime_s), 3)


def _by_number(item: tuple[str, object]) -> tuple[int, str]:
    key = item[0]
    return (int(key) if key.isdigit() else 1 << 30, key)
