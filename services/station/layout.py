"""Lays a status report out for a person: one screen, the answer in its first line. Pure: report in, lines out.

Owns: words, units, columns. Does not: judge.
"""

from services.station.facts import ConnectorReport, DeviceReport, LocalListReport, Reason, Report, ServiceReport

_FRESH_S = 10.0
"""A reading that is older is told with its age: its meter does not answer, and the power in it is of then."""


def lines(report: Report) -> list[str]:
    """The report as `station status` prints it."""
    out = [_first_line(report), ""]
    out += [_service_line(name, service) for name, service in report.services.items()]
    troubled = [device for service in report.services.values() for device in service.devices if _has_trouble(device)]
    out += ["", *map(device_line, troubled)]
    out += [_link_line(report), _clock_line(report)]
    for key, connector in report.connectors.items():
        out += _connector_lines(key, connector)
    out.append(_queue_line(report))
    if report.local_list is not None and (report.local_list.enabled or report.local_list.entries):
        out.append(_local_list_line(report.local_list))
    out.append(f"station      {report.state_dir}{', virtual hardware' if report.virtual else ''}")
    return out


def device_line(device: DeviceReport) -> str:
    """A device with what went wrong on its wire since its service started; `station devices` has the rest."""
    who = f", {device.identity}" if device.identity else ""
    counts = {"timeouts": device.timeouts, "errors": device.errors, "reconnects": device.reconnects}
    wrong = ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "no errors"
    return f"{device.name:<12} {'answers' if device.connected else 'does not answer'}{who}; {wrong}"


def _has_trouble(device: DeviceReport) -> bool:
    return not device.connected or bool(device.timeouts or device.errors or device.reconnects)


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
    warnings = "; ".join(_reason(reason) for reason in report.warnings)
    if report.well:
        return f"well{_for(report.uptime_s, ', up ')}{f', but: {warnings}' if warnings else ''}"
    return "NOT WELL: " + "; ".join(map(_reason, report.reasons)) + (f"; also: {warnings}" if warnings else "")


def _reason(reason: Reason) -> str:
    return reason.text + (f" (for {duration(reason.for_s)})" if reason.for_s is not None else "")


def _for(seconds: float | None, prefix: str, suffix: str = "") -> str:
    return "" if seconds is None else prefix + duration(seconds) + suffix


def _service_line(name: str, service: ServiceReport) -> str:
    answering = ", ".join(sorted(device.name for device in service.devices if device.connected))
    details = [f"{answering} answer{'s' if ',' not in answering else ''}"] if answering else []
    details += [f"{device.name} does not answer" for device in service.devices if not device.connected]
    pid = f"pid {service.pid}" if service.pid else "-"
    up = f"up {duration(service.uptime_s)}" if service.uptime_s is not None else ""
    text = service.health + (f": {', '.join(details)}" if details else "")
    return f"{name:<17} {service.state:<7} {pid:<11} {up:<15} {text}".rstrip()


def _link_line(report: Report) -> str:
    link = report.link
    if link is None:
        return "link         not known"
    words = "connected" if link.connected else "not connected"
    heard = _for(link.last_received_s, "last heard ", " ago")
    # While all is well the link has nothing to add; why it is not connected stands in the first line.
    detail = link.detail if link.connected and link.detail != words else ""
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
        later = (
            "out of service when this transaction ends, as set"
            if running is not None
            else "taken out of service at the station,"
        )
        out.append(f"{'':<12} {later}{_for(connector.out_of_service_for_s, ' ', ' ago')}".rstrip(","))
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
