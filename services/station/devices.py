"""`station devices`: what is configured, what answers and how it identifies itself; the last frames of a device; what hangs
on a port. Nothing of it changes anything.

Owns: the command line, asking. Does not: open a port that a service holds: what is behind it is asked of that service, over
the bus. Only where no station runs are the configured devices asked directly, by their own drivers.
"""

import argparse
import os
import sys

import msgspec

from bus.device_messages import DeviceFrame, ReadTrace, Trace
from bus.messages import DeviceHealth
from services.station import device_layout, paths
from services.station.facts import DeviceReport, Facts

_WELL, _NOT_WELL, _FAILED = 0, 1, 3
_ANSWER_S = 3.0


def main(argv: list[str]) -> int:
    """0: done, all devices answer; 1: one does not; 3: it can't be told, one line says why."""
    parser = argparse.ArgumentParser(
        prog="station devices",
        description="Show the devices of a station. Only looks: it is safe on a station that charges.",
    )
    paths.add_state_dir(parser)
    parser.add_argument("--config", metavar="FILE", help="station.toml of a station that does not run")
    parser.add_argument("--json", action="store_true", help="for programs")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="configured devices: do they answer, and who are they (the same without COMMAND)")
    trace = commands.add_parser("trace", help="the last frames of a device; those of a reader show card numbers in full")
    trace.add_argument("name", metavar="NAME", help="as `station devices` lists it: evse-1, meter-1, reader, estop")
    probe = commands.add_parser("probe", help="what hangs on a port; of one that a service holds, what that service knows")
    probe.add_argument("port", metavar="PORT", help="such as /dev/ttyUSB0")
    probe.add_argument("--unit", type=int, default=1, help="Modbus address to ask (default: %(default)s)")
    probe.add_argument("--listen", metavar="S", type=float, default=0.0, help="and wait S seconds for a card at a reader")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "trace":
            return _trace(arguments)
        if arguments.command == "probe":
            return _probe(arguments)
        return _list(arguments)
    except paths.NotRunning as error:
        print(f"station devices: {error}", file=sys.stderr)
        return _FAILED


def running_devices(state_dir: str) -> dict[str, list[DeviceHealth]]:
    """By service what the services of a running station say of their devices. Raises NotRunning; changes the directory."""
    return devices_of(_facts(state_dir))


def devices_of(facts: Facts) -> dict[str, list[DeviceHealth]]:
    """By service, of what `station status` found out."""
    return {service.name: list(service.health.devices) for service in facts.services if service.health is not None}


def _list(arguments: argparse.Namespace) -> int:
    try:
        found = running_devices(paths.given_state_dir(arguments))
    except paths.NotRunning:
        if arguments.config is None:
            raise
        return _list_stopped(arguments)
    reports = [_report(device) for devices in found.values() for device in devices]
    return _show(reports, arguments)


def _list_stopped(arguments: argparse.Namespace) -> int:
    """No service holds a port, so each device is asked by its driver, which changes nothing when it opens."""
    from services.configuration.checks import ConfigurationError
    from services.station.device_asking import ask_all

    try:
        return _show(ask_all(arguments.config), arguments)
    except ConfigurationError as error:
        print(f"station devices: {error}", file=sys.stderr)
        return _FAILED


def _show(reports: list[DeviceReport], arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(reports), indent=2).decode())
    else:
        print("\n".join(device_layout.lines(reports)))
    return _WELL if all(report.connected for report in reports) else _NOT_WELL


def _trace(arguments: argparse.Namespace) -> int:
    from bus.caller import Caller, Unanswered

    found = running_devices(paths.given_state_dir(arguments))
    owners = {device.name: service for service, devices in found.items() for device in devices}
    if arguments.name not in owners:
        names = ", ".join(owners) or "none that a service knows"
        print(f"station devices: there is no device {arguments.name[:40]!r}; there is {names}", file=sys.stderr)
        return _FAILED
    try:
        with Caller("devices") as caller:
            answer = caller.ask(ReadTrace(arguments.name), _ANSWER_S, service=owners[arguments.name])
    except Unanswered as error:
        print(f"station devices: {owners[arguments.name]} gives {error}", file=sys.stderr)
        return _FAILED
    assert isinstance(answer, Trace), "its type was checked when it was decoded"
    _print_trace(answer.frames, as_json=arguments.json)
    return _WELL


def _print_trace(frames: tuple[DeviceFrame, ...], *, as_json: bool) -> None:
    from bus.clock import boottime_s, system_utc_s

    offset_s = system_utc_s() - boottime_s()
    lines = device_layout.json_frames(frames, offset_s) if as_json else device_layout.frame_lines(frames, offset_s)
    for line in lines:
        print(line)


def _probe(arguments: argparse.Namespace) -> int:
    state_dir = paths.given_state_dir(arguments)
    port = os.path.abspath(arguments.port)
    try:
        facts: Facts | None = _facts(state_dir)
    except paths.NotRunning:
        facts = None
    if facts is not None:
        holders = [device for devices in devices_of(facts).values() for device in devices]
        known = [_report(device) for device in holders if device.port and same_port(device.port, port, state_dir)]
        if known:
            print(f"{arguments.port} is held by the running station, which says:")
            return _show(known, arguments)
        if not facts.bus_attached or _is_configured(facts, port, state_dir):
            why = "its bus does not answer" if not facts.bus_attached else "the service that this port belongs to is not heard"
            print(f"station devices: a station runs in {state_dir}, and {why}; nothing was tried", file=sys.stderr)
            return _FAILED
    return _ask_port(port, arguments)


def _ask_port(port: str, arguments: argparse.Namespace) -> int:
    from services.hardware import probe
    from services.hardware.contract import DeviceError

    try:
        found = list(probe.who_answers(port, unit=arguments.unit))
        if not found and arguments.listen > 0:
            print(f"nobody answers at {arguments.port}; hold a card to the reader, {arguments.listen:g} s", flush=True)
            found = [who for who in [probe.listened(port, arguments.listen)] if who]
    except DeviceError as error:
        print(f"station devices: {error}", file=sys.stderr)
        return _FAILED
    for who in found:
        print(who)
    if not found:
        print(f"nobody answers at {arguments.port}; check power and wiring, or try --unit N (Modbus), --listen 10 (a reader)")
    return _WELL if found else _NOT_WELL


def _facts(state_dir: str) -> Facts:
    from services.station.status import gather

    return gather(state_dir)


def _is_configured(facts: Facts, port: str, state_dir: str) -> bool:
    """Whether the running station has this port, though no service tells of it now."""
    from services.configuration.checks import ConfigurationError, ports
    from services.configuration.station import load

    try:
        config = load(facts.config, with_virtual_devices=facts.virtual)
    except ConfigurationError:
        return True
    return any(same_port(given, port, state_dir) for _, given in ports(config))


def _report(device: DeviceHealth) -> DeviceReport:
    return msgspec.convert(device, DeviceReport, from_attributes=True)


def same_port(one: str, other: str, state_dir: str) -> bool:
    """Whether two names mean the same device; relative ones begin in the state directory, as those of virtual devices do."""
    return os.path.realpath(os.path.join(state_dir, one)) == os.path.realpath(os.path.join(state_dir, other))
