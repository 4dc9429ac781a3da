"""`configuration.db`: what the Central System changed, and what the link must know again after its own restart.

Owns: the tables and their one writer, the link. Other services read it once, at their start, through `read_configuration`, and
follow the bus from there on (design §2). Does not: decide which value is right (`keys.py`) or act on one. Every write is one
commit with synchronous=FULL: it is on the disk when the method returns. The schema only ever grows.
"""

import os
import sqlite3
from collections.abc import Callable, Mapping

from bus import logs
from bus.database import transaction
from bus.salvage import open_store, schema_of
from services.configuration import keys
from services.configuration.formats import Problem
from services.configuration.keys import AUTHORIZATION_KEY
from services.configuration.station import StationConfig, capabilities, initial_values

log = logs.logger("configuration")

FILE_NAME = "configuration.db"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS configuration (key TEXT PRIMARY KEY, value TEXT NOT NULL, changed_utc TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS set_here (key TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS previous_key (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS session"
    " (boot_id TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (boot_id, name))",
    "CREATE TABLE IF NOT EXISTS accepted (url TEXT PRIMARY KEY, since_utc TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS known_time (id INTEGER PRIMARY KEY CHECK (id = 1), utc_ms INTEGER NOT NULL)",
)
SCHEMA = schema_of(_SCHEMA)
"""For `bus.salvage`."""


class ConfigurationStore:
    """The link's hold on `configuration.db`. Methods raise sqlite3.Error where the disk fails."""

    def __init__(self, path: str, factory: type[sqlite3.Connection] = sqlite3.Connection) -> None:
        """Open or create the database, damaged or not; `problem` then says in one line what was wrong."""
        opened = open_store(path, SCHEMA, factory)
        self._database, self.problem = opened.database, opened.problem

    def values(self) -> dict[str, str]:
        """What the Central System changed: text by key, as printed. Not checked against this firmware."""
        return _pairs(self._database, "SELECT key, value FROM configuration")

    def set_value(self, key: str, text: str, changed_utc: str, *, here: bool = False) -> None:
        """Keep a changed value; committed when this returns, so that the answer may go out (design §3).

        `here`: by a person at the station, not by the Central System.
        """
        with transaction(self._database) as database:
            database.execute(
                "INSERT INTO configuration VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value, changed_utc = excluded.changed_utc",
                (key, text, changed_utc),
            )
            if here:
                database.execute("INSERT OR IGNORE INTO set_here VALUES (?)", (key,))
            else:
                database.execute("DELETE FROM set_here WHERE key = ?", (key,))

    def forget_value(self, key: str) -> None:
        """What `station.toml` or the default says holds again."""
        with transaction(self._database) as database:
            database.execute("DELETE FROM configuration WHERE key = ?", (key,))
            database.execute("DELETE FROM set_here WHERE key = ?", (key,))

    def previous_key(self) -> str | None:
        """The AuthorizationKey from before a change that has not opened a connection yet."""
        row = self._database.execute("SELECT value FROM previous_key").fetchone()
        return None if row is None else str(row[0])

    def set_authorization_key(self, key: str, previous: str | None, changed_utc: str) -> None:
        """Keep the key and the one from before it, or no such one, in one commit: none is ever lost (OCPP-J 1.6 §6.2.2)."""
        with transaction(self._database) as database:
            database.execute("INSERT OR REPLACE INTO configuration VALUES (?, ?, ?)", (AUTHORIZATION_KEY, key, changed_utc))
            database.execute("DELETE FROM previous_key")
            if previous is not None:
                database.execute("INSERT INTO previous_key VALUES (1, ?)", (previous,))

    def begin_session(self, boot_id: str) -> dict[str, str]:
        """What was kept under this application boot; what belongs to other boots is forgotten."""
        self._write("DELETE FROM session WHERE boot_id <> ?", (boot_id,))
        return _pairs(self._database, "SELECT name, value FROM session")

    def keep(self, boot_id: str, facts: Mapping[str, str]) -> None:
        """Keep facts of the session under the boot's id, all in one commit."""
        with transaction(self._database) as database:
            database.executemany(
                "INSERT INTO session VALUES (?, ?, ?) ON CONFLICT (boot_id, name) DO UPDATE SET value = excluded.value",
                [(boot_id, name, value) for name, value in facts.items()],
            )

    def ever_accepted(self, url: str) -> bool:
        """Whether the Central System at this URL has ever accepted this station (errata v4.0 3.11)."""
        return self._database.execute("SELECT 1 FROM accepted WHERE url = ?", (url,)).fetchone() is not None

    def set_accepted(self, url: str, since_utc: str) -> None:
        """Keep for ever that the Central System at this URL has accepted this station."""
        self._write("INSERT OR IGNORE INTO accepted VALUES (?, ?)", (url, since_utc))

    def known_utc_ms(self) -> int | None:
        """The last time that was known, Unix milliseconds: a floor for the next boot (design §5)."""
        row = self._database.execute("SELECT utc_ms FROM known_time").fetchone()
        return None if row is None else int(row[0])

    def set_known_utc_ms(self, utc_ms: int) -> None:
        """Keep the floor. It may go back: whether an earlier time is to be believed is the caller's to decide."""
        self._write("INSERT INTO known_time VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET utc_ms = excluded.utc_ms", (utc_ms,))

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def _write(self, statement: str, parameters: tuple[str | int, ...]) -> None:
        with transaction(self._database) as database:
            database.execute(statement, parameters)


def _log(line: str) -> None:
    log.warning("stored configuration not used as it is", problem=line)


def effective(stored: Mapping[str, str], config: StationConfig, report: Callable[[str], None] = _log) -> dict[str, str]:
    """Values of all keys: default, then `station.toml`, then `stored`, each over the one before.

    A stored value is left out, and told to `report` in one line, if this station can't have it any more: another meter was
    fitted, the key became read-only, or an older firmware had more keys.
    """
    able, values = capabilities(config), initial_values(config)
    for name, text in stored.items():
        key = keys.find(name, able)
        if key is None or keys.access(key, able) is keys.Access.READ:
            report(f"the stored value of {name} is ignored: this station does not let it be changed")
            continue
        checked = keys.validate(key, text, able, values)
        if isinstance(checked, Problem):
            report(f"the stored value of {name} is ignored: {checked.text}")
            continue
        values[key.name] = checked
    return values


def read_configuration(path: str, config: StationConfig, report: Callable[[str], None] = _log) -> dict[str, str]:
    """Values of all OCPP keys for a service that starts, without secrets. Never raises for what is on the disk.

    A database that is missing or can't be read means defaults and `station.toml`; `report` gets one line for each problem,
    which a missing one is not.
    """
    try:
        stored = _stored(path)
    except FileNotFoundError:
        # So it is at each station's first start.
        log.info("no OCPP key was changed here yet: station.toml and defaults apply")
        stored = {}
    except sqlite3.Error as error:
        report(f"{path} can't be read ({error}): station.toml and defaults apply; see the log of ocpp_link")
        stored = {}
    return keys.public(effective(keys.public(stored), config, report))


def read_changes(path: str) -> dict[str, tuple[str, str, bool]]:
    """Each changed value, for a person: (text, when in UTC, whether it was set at the station). Secrets are in it.

    Raises FileNotFoundError, sqlite3.Error.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    database = sqlite3.connect(f"file:{_uri_path(path)}?mode=ro", uri=True, timeout=2.0)
    try:
        tables = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master")}
        here = "key IN (SELECT key FROM set_here)" if "set_here" in tables else "0"
        rows = database.execute(f"SELECT key, value, changed_utc, {here} FROM configuration")
        return {str(key): (str(value), str(changed_utc), bool(by_hand)) for key, value, changed_utc, by_hand in rows}
    finally:
        database.close()


def _stored(path: str) -> dict[str, str]:
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    database = sqlite3.connect(f"file:{_uri_path(path)}?mode=ro", uri=True, timeout=2.0)
    try:
        return _pairs(database, "SELECT key, value FROM configuration")
    finally:
        database.close()


def _uri_path(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _pairs(database: sqlite3.Connection, query: str) -> dict[str, str]:
    return {str(name): str(value) for name, value in database.execute(query)}
