"""What a support bundle has of a station: asked of its services within seconds, and read from its files.

Owns: the parts, in the order in which they are wanted. Does not: write the archive (`bundle_archive.py`), or look at the board
(`bundle_board.py`). Changes nothing and opens no port. Every part may fail by itself; whatever is left is worth having.
"""

import contextlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator

import msgspec

from bus.clock import boottime_s, system_utc_s
from bus.process import lock_holder
from services.configuration.store import FILE_NAME as CONFIGURATION
from services.station import bundle_board as board
from services.station import config_table, device_layout, layout, masking, paths, queue_layout, quiet_database
from services.station.bundle_archive import Archive
from services.station.facts import Facts, Report
from services.station.log_files import LogDirectory, NoLog
from services.station.report import report
from services.transaction_queue import handover
from services.transaction_queue.kept import KeptTransaction

_LOG_BYTES_MAX = 8 << 20
"""Of one file; ours are rotated long before."""
_QUEUE_BYTES_MAX = 1 << 20
_QUEUE_S_MAX = 2.0
_TRACE_S = 1.0
_FULL_ID_TAGS = re.compile(r"^\s*full_id_tags\s*=\s*true\b", re.MULTILINE)
_READERS = "rfid"


class Absent(Exception):
    """A part that is not to be had; the text says why."""


class Station:
    """What is looked at."""

    def __init__(self, state_dir: str, config: str) -> None:
        """`config`: path of its station.toml; empty: as it was started last."""
        self.state_dir = state_dir
        self.run_dir = os.path.join(state_dir, paths.RUN_DIRECTORY)
        self.run_facts = self._read_run_facts()
        self.config = config or str(self.run_facts.get("config") or "")
        self.virtual = bool(self.run_facts.get("virtual"))
        self.facts: Facts | None = None
        self.report: Report | None = None

    def lock(self, service: str) -> str:
        """The lock file of a service."""
        return os.path.join(self.run_dir, f"{service}.lock")

    def runs(self) -> bool | None:
        """Whether anything of it does; None: this user may not know."""
        try:
            os.listdir(self.run_dir)
            return any(lock_holder(self.lock(name)) is not None for name in ("station", "broker"))
        except FileNotFoundError:
            return False
        except OSError:
            return None

    def look(self) -> None:
        """Ask the running station how it is."""
        from services.station.status import gather

        before = os.getcwd()
        try:
            self.facts = gather(self.state_dir)
        finally:
            os.chdir(before)
        self.report = report(self.facts)

    def _read_run_facts(self) -> dict[str, object]:
        try:
            with open(os.path.join(self.run_dir, paths.RUN_FACTS), encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


class Part(msgspec.Struct, frozen=True):
    """A member to be: `text` makes it, and raises what becomes a line of the manifest."""

    name: str
    what: str
    text: Callable[[], str]


def secrets(station: Station) -> Iterator[str]:
    """Those that this station has now, or had before; as far as they can be read."""
    with contextlib.suppress(OSError, Absent):
        yield from masking.secrets_in(_toml(station))
    path = os.path.join(station.state_dir, CONFIGURATION)
    found: list[str] = []
    with (
        contextlib.suppress(OSError, sqlite3.Error, quiet_database.TooLarge),
        quiet_database.reading(path, station.lock("ocpp_link")) as database,
    ):
        for query in ("SELECT value FROM configuration WHERE key = 'AuthorizationKey'", "SELECT value FROM previous_key"):
            found += [str(value) for (value,) in database.execute(query)]
    yield from found


def shows_id_tags(station: Station) -> bool:
    """Whether the station was told to have idTags in full in its logs; also where its station.toml is broken."""
    with contextlib.suppress(OSError, Absent):
        return _FULL_ID_TAGS.search(_toml(station)) is not None
    return False


def parts(station: Station) -> Iterator[Part]:
    """All small parts; what is wanted most comes first."""
    if (found := station.report) is not None:
        devices = [device for one in found.services.values() for device in one.devices]
        yield Part("status.txt", "station status", lambda: _lines(layout.lines(found)))
        yield Part("status.json", "station status --json", lambda: _json(found))
        yield Part("devices.txt", "configuration, identity, counters", lambda: _lines(device_layout.lines(devices)))
    yield Part("config/station.toml", "configuration without secrets", lambda: masking.masked_toml(_toml(station)))
    yield Part("config/keys.txt", "OCPP keys, origin, what they shadow", lambda: config_table.text(_keys(station)) + "\n")
    yield Part("config/keys.json", "the same for programs", lambda: _json(_keys(station)))
    yield Part("queue.txt", "what no Central System has, by transaction", lambda: _queue_text(station))
    yield Part("queue.jsonl", "the same with messages and attempts, a transaction a line", lambda: _queue_json(station))
    yield Part("versions.txt", "firmware, Python, libraries, kernel", board.versions)
    yield Part("disk.txt", "free space, mounts, the station's files", lambda: board.disk(station.state_dir))
    yield Part("clock.txt", "the board's clocks", board.clock)
    yield Part("memory.txt", "memory of the board and of each process", lambda: board.memory(station.run_dir))
    yield Part("ports.txt", "ports that the kernel has", board.plugged)
    yield Part("run/station.json", "how it was started", lambda: _file(os.path.join(station.run_dir, paths.RUN_FACTS)))
    yield Part("run/supervisord.conf", "processes", lambda: _file(os.path.join(station.run_dir, "supervisord.conf")))
    yield Part("damaged.txt", "damaged databases that are kept", lambda: _damaged(station))


def add_traces(archive: Archive, station: Station) -> None:
    """The last frames of each device, as long as its service answers; none of a reader."""
    from bus.caller import Caller, Unanswered
    from bus.device_messages import ReadTrace, Trace
    from services.station.devices import devices_of

    if station.facts is None:
        archive.lacks("traces/", "they are in the memory of the services, which could not be asked")
        return
    found = devices_of(station.facts)
    if not any(found.values()):
        archive.lacks("traces/", "no service says which devices it has")
        return
    offset_s = system_utc_s() - boottime_s()
    before = os.getcwd()
    os.chdir(station.run_dir)
    try:
        with Caller("bundle") as caller:
            for service, devices in found.items():
                for number, device in enumerate(devices):
                    name = f"traces/{device.name}.txt"
                    if service == _READERS:
                        archive.lacks(name, "a reader's frames are card numbers in full")
                        continue
                    try:
                        answer = caller.ask(ReadTrace(device.name), _TRACE_S, service=service)
                    except Unanswered as error:
                        archive.lacks(name, f"{service} gives {error}")
                        for other in devices[number + 1 :]:
                            archive.lacks(f"traces/{other.name}.txt", f"{service} did not answer")
                        break
                    assert isinstance(answer, Trace), "its type was checked when it was decoded"
                    text = _lines(list(device_layout.frame_lines(answer.frames, offset_s)))
                    archive.add_newest(name, f"the last frames of {device.name}", text.encode(), system_utc_s())
    finally:
        os.chdir(before)


def add_logs(archive: Archive, station: Station) -> None:
    """Current files of all services first, then rotated ones, newest first."""
    try:
        directory = LogDirectory(os.path.join(station.state_dir, paths.LOG_DIRECTORY))
    except NoLog as error:
        archive.lacks("log/", str(error))
        return
    with contextlib.ExitStack() as stack:
        opened = []
        for name in directory.names():
            # All are opened now: a rotation would rename them under our hands.
            for age, path in enumerate(reversed(directory.files(name))):
                try:
                    opened.append((age, name, os.path.basename(path), stack.enter_context(open(path, "rb"))))
                except OSError as error:
                    archive.lacks(f"log/{os.path.basename(path)}", str(error.strerror))
        seen = set()
        for _, name, base, file in sorted(opened, key=lambda one: one[:3]):
            about = os.fstat(file.fileno())
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            file.seek(max(0, about.st_size - _LOG_BYTES_MAX))
            archive.add_newest(f"log/{base}", f"log of {name}", file.read(_LOG_BYTES_MAX), about.st_mtime)


def _toml(station: Station) -> str:
    if not station.config:
        raise Absent("no station was ever started here; name its station.toml with --config")
    return _file(station.config)


def _keys(station: Station) -> tuple[config_table.Row, ...]:
    from services.configuration.checks import ConfigurationError
    from services.configuration.station import load

    _toml(station)
    try:
        config = load(station.config, with_virtual_devices=station.virtual)
    except ConfigurationError as error:
        raise Absent(str(error)) from None
    path = os.path.join(station.state_dir, CONFIGURATION)
    stored: dict[str, config_table.Stored] = {}
    with contextlib.suppress(FileNotFoundError), quiet_database.reading(path, station.lock("ocpp_link")) as database:
        here = {str(key) for (key,) in database.execute("SELECT key FROM set_here")}
        for key, value, changed_utc in database.execute("SELECT key, value, changed_utc FROM configuration"):
            stored[str(key)] = config_table.Stored(str(value), str(changed_utc), str(key) in here)
    return config_table.rows(stored, config)


def _queue_text(station: Station) -> str:
    with _queue(station) as database:
        lines = queue_layout.verdict(handover.counts(database), 0, [])
        until_s = time.monotonic() + _QUEUE_S_MAX
        size = 0
        for kept in handover.transactions(database):
            more = queue_layout.listing([kept], everything=True)
            size += sum(map(len, more))
            lines += more
            if size > _QUEUE_BYTES_MAX or time.monotonic() > until_s:
                lines.append("and more: station queue list --all at the station has all of it")
                break
    return _lines(lines)


def _queue_json(station: Station) -> str:
    lines, size = [], 0
    with _queue(station) as database:
        until_s = time.monotonic() + _QUEUE_S_MAX
        for kept in handover.transactions(database):
            lines.append(json.dumps(_shown(kept), ensure_ascii=False))
            size += len(lines[-1])
            if size > _QUEUE_BYTES_MAX or time.monotonic() > until_s:
                lines.append('{"more": true}')
                break
    return _lines(lines)


def _shown(kept: KeptTransaction) -> object:
    """Without what nobody can read: it may hold an idTag in full."""
    messages = [
        msgspec.structs.replace(one, payload=f"{len(one.payload)} characters") if isinstance(one.payload, str) else one
        for one in kept.messages
    ]
    return masking.masked_values(msgspec.to_builtins(msgspec.structs.replace(kept, messages=tuple(messages))))


@contextlib.contextmanager
def _queue(station: Station) -> Iterator[sqlite3.Connection]:
    path = os.path.join(station.state_dir, "transactions.db")
    with quiet_database.reading(path, station.lock("transaction_queue")) as database:
        yield database


def _damaged(station: Station) -> str:
    found = sorted(name for name in os.listdir(station.state_dir) if ".damaged" in name)
    return _lines(found or ["none"])


def _file(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(1 << 20).decode("utf-8", "replace")


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _lines(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
