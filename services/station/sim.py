"""`station sim`: passes a command on to the virtual hardware, and knows when the virtual station is ready.

Owns: the command line and the waiting. Does not: know the simulator's commands, or import the bus for anything but
`ready`: each command is to return within half a second.
"""

import argparse
import json
import sys
import time

from services.station import paths

_COMMAND_TIMEOUT_S = 5.0
_READY_TIMEOUT_S = 30.0
_RETRY_S = 0.05
_EPILOG = """commands:
  ready                          wait until services and virtual devices are up
  plug-in N, plug-out N          the cable of connector N; plug-out works under load too
  swipe TAG                      hold a card to the reader
  ev-pause N, ev-resume N        the car stops drawing, and draws again
  ev-full N                      its battery is full
  ev-hold N                      it goes on drawing when the offer ends, until it is cut off or ev-resume
  ev-max N AMPS                  the most that the car draws
  set-meter N WH                 another meter was fitted: its register
  fault N KIND, clear-fault N KIND
  estop on|off                   the emergency stop
  unplug-device evse N|meter N|reader, replug-device …
  state                          what car, controller and meter really are, as JSON"""


class NotReady(Exception):
    """The virtual station is not up in time; the text says what is missing."""


def main(argv: list[str]) -> int:
    """0: the virtual hardware has it; 1: one line says why not."""
    parser = argparse.ArgumentParser(
        prog="station sim",
        description="Hands on the virtual hardware of a station that runs with --virtual.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    paths.add_state_dir(parser)
    parser.add_argument("--timeout", metavar="S", type=float, help="seconds to wait, for `ready` 30, otherwise 5")
    parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("args", metavar="ARG", nargs="*")
    arguments = parser.parse_intermixed_args(argv)
    state_dir = paths.given_state_dir(arguments)
    from services.simulator.client import SimulatorUnreachable

    try:
        if arguments.command == "ready":
            wait_until_ready(state_dir, arguments.timeout or _READY_TIMEOUT_S)
            return 0
        return _pass_on(state_dir, arguments)
    except (SimulatorUnreachable, NotReady, paths.NotRunning) as error:
        print(f"station sim: {error}", file=sys.stderr)
        return 1


def wait_until_ready(state_dir: str, timeout_s: float) -> None:
    """Return when virtual devices and services are up. Raises NotReady, NotRunning. Changes the working directory."""
    deadline_s = time.monotonic() + timeout_s
    _wait_for_devices(state_dir, deadline_s)
    paths.enter_run_directory(state_dir)
    # Only here: the bus costs more time to import than the other commands may take.
    from bus.messages import ServiceHealth
    from bus.observer import Observer
    from bus.process import lock_holder
    from services.station.programs import programs

    wanted = {program.name for program in programs(virtual=True) if program.on_bus}
    with Observer("sim", [ServiceHealth]) as observer:

        def missing() -> set[str]:
            """The broker keeps the last word of the dead, too: a service is up when it is the living one that spoke."""
            healths = observer.values(ServiceHealth)
            return {name for name in wanted if name not in healths or lock_holder(f"{name}.lock") != healths[name].pid}

        if not observer.wait(lambda: not missing(), max(0.0, deadline_s - time.monotonic())):
            raise NotReady(f"not ready within {timeout_s:g} s: nothing heard of {', '.join(sorted(missing()))}")


def _pass_on(state_dir: str, arguments: argparse.Namespace) -> int:
    from services.simulator.client import request

    timeout_s = arguments.timeout or _COMMAND_TIMEOUT_S
    answer = request(state_dir, arguments.command, arguments.args, timeout_s)
    if not answer.get("ok"):
        print(f"station sim: {answer.get('reason', 'the simulator gives no reason')}", file=sys.stderr)
        return 1
    rest = {key: value for key, value in answer.items() if key != "ok"}
    if rest:
        print(json.dumps(rest.get("state", rest), indent=2))
    return 0


def _wait_for_devices(state_dir: str, deadline_s: float) -> None:
    from services.simulator.client import SimulatorUnreachable, request

    while True:
        try:
            answer = request(state_dir, "ready", [], _COMMAND_TIMEOUT_S)
            if answer.get("ok"):
                return
            reason = str(answer.get("reason", "the simulator is not ready"))
        except SimulatorUnreachable as error:
            reason = str(error)
        if time.monotonic() >= deadline_s:
            raise NotReady(f"not ready in time: {reason}")
        time.sleep(_RETRY_S)
