"""The Central System as a process, for tests that stop it with SIGSTOP and for people with `websocat` habits.

Owns: its command line, the book as a file of JSON lines, and one JSON object per line on standard input:
`{"call": "Reset", "payload": {"type": "Soft"}}` sends a CALL (the answer is printed as a line of JSON),
`{"behaviour": {"registration": "Pending"}}` sets switches,
`{"rule": "call_error", "with": ["StartTransaction", 2]}` adds a rule.
Does not: end with its standard input; SIGTERM and SIGINT end it.
"""

import argparse
import signal
import sys
import threading
from typing import IO, Any

import msgspec

from services.demo.book import Entry
from services.demo.central_system import CallFailed, CentralSystem, NotConnected

_RULES = frozenset({"call_error", "silence", "close", "answer", "delay", "clear", "set_id_tag"})


def main(argv: list[str] | None = None) -> int:
    """Run until a signal comes; 1 where the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m services.demo.central_system", description="A local Central System.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--book", metavar="FILE", help="append each entry as a line of JSON")
    arguments = parser.parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    central_system = CentralSystem(arguments.port)
    book = open(arguments.book, "ab", buffering=0) if arguments.book else None  # noqa: SIM115
    if book is not None:
        central_system.book.listen(lambda entry: _append(book, entry))
    try:
        central_system.start()
    except OSError as error:
        print(f"central system: cannot listen on port {arguments.port}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(f"listening on {central_system.url}", flush=True)
    threading.Thread(target=_obey, args=(central_system, sys.stdin), daemon=True).start()
    stop.wait()
    central_system.stop()
    return 0


def obey(central_system: CentralSystem, line: str) -> dict[str, Any]:
    """Do what a line of standard input says; what to print about it."""
    try:
        command = msgspec.json.decode(line, type=dict[str, Any])
        if "call" in command:
            return {"answer": central_system.call(command["call"], command.get("payload"), identity=command.get("identity"))}
        if "behaviour" in command:
            return _set(central_system, command["behaviour"])
        if command.get("rule") in _RULES:
            getattr(central_system.behaviour, command["rule"])(*command.get("with", []), **command.get("options", {}))
            return {"ok": True}
    except CallFailed as error:
        return {"call_error": {"code": error.code, "description": error.description}}
    except (msgspec.DecodeError, NotConnected, TimeoutError, ConnectionError, TypeError) as error:
        return {"error": str(error) or type(error).__name__}
    return {"error": "a line has one of: call, behaviour, rule"}


def _set(central_system: CentralSystem, switches: dict[str, Any]) -> dict[str, Any]:
    unknown = [name for name in switches if name.startswith("_") or name not in vars(central_system.behaviour)]
    if unknown:
        return {"error": f"there is no switch {', '.join(unknown)}"}
    for name, value in switches.items():
        setattr(central_system.behaviour, name, value)
    return {"ok": True}


def _obey(central_system: CentralSystem, lines: IO[str]) -> None:
    for line in lines:
        if line.strip():
            print(msgspec.json.encode(obey(central_system, line)).decode(), flush=True)


def _append(book: IO[bytes], entry: Entry) -> None:
    book.write(msgspec.json.encode(entry) + b"\n")
