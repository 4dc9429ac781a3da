"""Entry point of `station`: finds the subcommand and hands over.

Owns: the list of subcommands and the help over all of them. Does not: import a subcommand that was not asked for;
`station sim` and shell completion have to be quick.
"""

import importlib
import sys

_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("services.station.run", "start the whole station in the foreground"),
    "status": ("services.station.status", "show whether the station is well, and what it is doing"),
    "logs": ("services.station.log_reader", "show the log lines of all services in the order of time"),
    "queue": ("services.station.queue", "transaction messages that no Central System has: list, export, import, send again"),
    "config": ("services.station.config", "OCPP keys: value, origin, what it shadows; set and reset one"),
    "out-of-service": ("services.station.out_of_service", "take a connector, or all, out of service, and back"),
    "devices": ("services.station.devices", "devices: what answers and who it is, the last frames of one"),
    "restart": ("services.station.restart", "restart one service of the running station"),
    "check": ("services.station.check", "say all that is wrong before the start: station.toml, devices, disk, clock"),
    "support-bundle": ("services.station.support_bundle", "one small file with all that somebody far away needs to help"),
    "sim": ("services.station.sim", "plug in, swipe a card, break things: hands on the virtual hardware"),
    "demo": ("services.demo", "a local Central System, a virtual station and one charging session to watch"),
}
USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Run the subcommand that the command line names; its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else USAGE_ERROR
    if arguments[0] in ("-V", "--version"):
        from bus.version import VERSION

        print(f"chargebus {VERSION}")
        return 0
    if arguments[0] not in _COMMANDS:
        print(f"station: there is no subcommand {arguments[0]!r}\n\n{_help()}", file=sys.stderr)
        return USAGE_ERROR
    module = importlib.import_module(_COMMANDS[arguments[0]][0])
    try:
        return int(module.main(arguments[1:]))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has seen enough (`station logs | head`); Python must not complain at exit.
        sys.stdout = None
        return 0


def _help() -> str:
    lines = [f"  station {name:<15}{text}" for name, (_, text) in _COMMANDS.items()]
    head = "An EV charging station that speaks OCPP 1.6-J.\n"
    return "\n".join([head, *lines, "\nstation SUBCOMMAND --help says more."])


if __name__ == "__main__":
    raise SystemExit(main())
