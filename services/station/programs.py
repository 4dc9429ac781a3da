"""The one list of the station's processes. supervisord's configuration, `station status` and `station restart` read it.

Owns: which processes there are, and in which order they start. Does not: start anything. Names are those of `bus/topics.py`.
"""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from services.configuration.model import StationConfig

FRAMES = "ocpp_frames"
"""The log of OCPP frames, beside those of the programs; the link writes it."""


class Program(msgspec.Struct, frozen=True):
    """One process under supervisord. `priority`: lower ones start first and stop last; nobody waits for anybody.

    `on_bus`: it says on the bus how it is. `listens`: supervisord tells it of the others. `stdout`: the log of its own that its
    standard output is; empty: it has only that of what it says. `section`: it runs only where station.toml has that.
    """

    name: str
    module: str
    priority: int
    virtual_only: bool = False
    on_bus: bool = True
    listens: bool = False
    stdout: str = ""
    section: str = ""


PROGRAMS: tuple[Program, ...] = (
    Program("broker", "bus.broker", 10),
    Program("simulator", "services.simulator", 20, virtual_only=True, on_bus=False),
    Program("ocpp_link", "services.ocpp_link", 30, stdout=FRAMES),
    Program("connectors", "services.connectors", 40),
    Program("meter", "services.meter", 50),
    Program("rfid", "services.rfid", 60),
    Program("transaction_queue", "services.transaction_queue", 70),
    Program("watchdog", "services.watchdog", 80, listens=True),
    Program("metrics", "services.metrics", 90, section="metrics"),
)
"""The hardware comes before its users, and the link before the rest, so that the BootNotification goes out early."""


SILENT: frozenset[str] = frozenset(program.name for program in PROGRAMS if not program.on_bus)
"""Programs of which nothing is to be heard on the bus: the hardware does not talk there."""


def programs(*, virtual: bool, config: "StationConfig | None" = None) -> tuple[Program, ...]:
    """The processes of a station; the simulator only where the hardware is virtual.

    `config` None: without those that run only where a section of it says so.
    """
    return tuple(
        program
        for program in PROGRAMS
        if (virtual or not program.virtual_only) and (not program.section or getattr(config, program.section, None) is not None)
    )
