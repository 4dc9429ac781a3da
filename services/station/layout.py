"""Lays a status report out for a person: one screen, the answer in its first line. Pure: report in, lines out.

Owns: words, units, columns. Does not: judge.
"""

from services.station.device_layout import counted
from services.station.facts import ConnectorReport, DeviceReport, LocalListReport, Reason, Report, ServiceReport

_FRESH_S = 10.0
"""A reading that is older is told with its age: its meter does not answer, and the power in it is of then."""


def lines(report: Report) -> list[str]:
    """The report as `station status` prints it."""
    out = [_first_line(report), ""]
    out += [_service_line(name, service) for name, service in report.services.items()]
    out += ["", *(device_line(device) for service in report.services.values() for device in service.devices)]
    out += [_link_line(report), _clock_line(report)]
    for key, connector in report.connectors.items():
        out += _connector_lines(key, connector)
    out.append(_queue_line(report))
    if report.local_list is not None and (report.local_list.enabled or report.local_list.entries):
        out.append(_local_list_line(report.local_list))
    if report.reader is not None:
        out.append(f"reader       {report.reader or 'works'}")
    out.append(f"station      {report.state_dir}{', virtual hardware' if report.virtual else ''}")
    return out


def device_line(device: DeviceReport) -> str:
    """A device with what went over its wire since its service started."""
    who = f", {device.identity}" if device.identity else ""
    return f"{device.name:<12} {'answers' if device.connected else 'does not answer'}{who}; {counted(device)}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that say something."""
    rest = int(seconds)
    parts: list[str] = []
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def _first_line(report: Report) -> str:
    if report.well:
        return f"well{_for(report.uptime_s, ', up ')}"
    return "NOT WELL: " + "; ".join(_reason(reason) for reason in report.reasons)


def _reason(reason: Reason) -> str:
    return reason.text + (f" (for {duration(reason.for_s)})" if reason.for_s is not None else "")


def _for(seconds: float | None, prefix: str, suffix: str = "") -> str:
    return "" if seconds is None else prefix + duration(seconds) + suffix


def _service_line(name: str, service: ServiceReport) -> str:
    details = "; ".join(f"{device.name} {'answers' if device.connected else 'does not answer'}" for device in service.devices)
    pid = f"pid {service.pid}" if service.pid else "-"
    up = f"up {duration(service.uptime_s)}" if service.uptime_s is not None else ""
    return f"{name:<18} {service.state:<9} {pid:<12} {up:<16} {service.health}{': ' + details if details else ''}".rstrip()


def _link_line(report: Report) -> str:
    link = report.link
    if link is None:
        return "link         not known"
    words = "connected" if link.connected else "not connected"
    heard = _for(link.last_received_s, "last heard ", " ago")
    # While all is well the link has nothing to add.
    detail = "" if link.detail == words else link.detail
    parts = [words, link.registration or "not registered", heard, detail]
    return "link         " + ", ".join(part for part in parts if part)


def _clock_line(report: Report) -> str:
    clock = report.clock
    if clock is None:
        return "clock        not known"
    return f"clock        {clock.utc or 'not known'} (source: {clock.source})"


def _connector_lines(key: str, connector: ConnectorReport) -> list[str]:
    name = "charge point" if key == "0" else f"connector {key}"
    parts = [connector.status]
    if connector.error_code != "NoError":
        parts.append(connector.error_code)
    if connector.info and not (connector.out_of_service and connector.status == "Unavailable"):
        parts.append(connector.info)
    if connector.offered_a:
        parts.append(f"offers {connector.offered_a:g} A")
    out = [f"{name:<12} {', '.join(parts)}{_for(connector.for_s, ', for ')}"]
    running = connector.transaction
    if running is not None:
        number = (
            f"transaction {running.transaction_id}" if running.transaction_id is not None else "transaction not confirmed yet"
        )
        energy = f", {running.energy_wh / 1000:.3f} kWh" if running.energy_wh is not None else ""
        stopping = ", stopping" if running.stopping else ""
        out.append(f"{'':<12} {number}, card {running.id_tag}{energy}{_for(running.for_s, ', for ')}{stopping}")
    if connector.out_of_service:
        later = "goes out of service when its transaction ends, commanded" if running is not None else "taken out of service"
        out.append(f"{'':<12} {later} at the station{_for(connector.out_of_service_for_s, ', ', ' ago')}")
    kept = connector.reservation
    if kept is not None:
        out.append(f"{'':<12} reservation {kept.reservation_id}, card {kept.id_tag}, until {kept.until_utc}")
    reading = connector.reading
    if reading is not None:
        power = f", {reading.power_w / 1000:.2f} kW" if reading.power_w is not None else ""
        currents = f", {' / '.join(f'{value:.1f}' for value in reading.currents_a)} A" if reading.currents_a else ""
        age = f", read {duration(reading.age_s)} ago" if reading.age_s > _FRESH_S else ""
        out.append(f"{'':<12} meter {reading.register_wh / 1000:.3f} kWh{power}{currents}{age}")
    elif key != "0":
        out.append(f"{'':<12} no trustworthy meter reading")
    return out


def _local_list_line(known: LocalListReport) -> str:
    off = "" if known.enabled else ", not in use: LocalAuthListEnabled is false, or the profile is off"
    return f"local list   {known.entries} entries, version {known.version}{off}"


def _queue_line(report: Report) -> str:
    queue = report.queue
    if queue is None:
        return "queue        not known"
    oldest = _for(queue.oldest_age_s, ", the oldest for ")
    dead = f", {queue.dead_letters} given up" if queue.dead_letters else ""
    return f"queue        {queue.depth} waiting{oldest}{dead}{', ' + queue.detail if queue.detail else ''}"
