"""The rows of the Local Authorization List in connectors.db: found one by one, changed in one commit (OCPP 1.6 §3.5.2).

Owns: the table `local_list`, and the row of `known` that says which version it is and how many entries it has. Does not: decide
what is in it (`local_list.py`). An update writes the rows that it names and no others. What is left of a list after damage to
the file is no list: it is emptied at the start, so that version and content never disagree.
"""

import sqlite3
from collections.abc import Iterable

import msgspec

from bus.codec import checked_builtins
from bus.database import transaction
from bus.messages import IdTagInfo
from services.connectors import events as e
from services.connectors.state import LocalList

STATEMENT = "CREATE TABLE IF NOT EXISTS local_list (id_tag TEXT PRIMARY KEY, body TEXT NOT NULL)"
"""`id_tag` is an `id_tag_key`, `body` the idTagInfo as JSON."""
SELECT_ONE = "SELECT CAST(body AS BLOB) FROM local_list WHERE id_tag = ?"
_SIZE = "local_list"


class ListTable:
    """The list on disk. `save` and `save_size` belong into the caller's transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def load(self) -> tuple[LocalList, str]:
        """Version and size; and what was wrong with a list that had to be emptied, in one line."""
        try:
            size, problem = self._checked()
        except msgspec.MsgspecError as error:
            size, problem = LocalList(), f"local_list: can't be read: {error}"
        if problem:
            with transaction(self._database):
                self.save(e.SaveLocalList(True, (), ()))
                self.save_size(LocalList())
        return size, problem

    def find(self, keys: Iterable[str]) -> dict[str, IdTagInfo | None]:
        """What the list has of each of these idTags, by `id_tag_key`; None: nothing."""
        found: dict[str, IdTagInfo | None] = {}
        for key in keys:
            row = self._database.execute(SELECT_ONE, (key,)).fetchone()
            found[key] = None if row is None else msgspec.json.decode(row[0], type=IdTagInfo)
        return found

    def save(self, change: e.SaveLocalList) -> None:
        """Write an update."""
        if change.replaces:
            self._database.execute("DELETE FROM local_list")
        rows = [(key, msgspec.json.encode(checked_builtins(info)).decode()) for key, info in change.saved]
        self._database.executemany("INSERT OR REPLACE INTO local_list VALUES (?, ?)", rows)
        self._database.executemany("DELETE FROM local_list WHERE id_tag = ?", [(key,) for key in change.dropped])

    def save_size(self, size: LocalList) -> None:
        """Write what the list is after an update."""
        self._database.execute("INSERT OR REPLACE INTO known VALUES (?, ?)", (_SIZE, msgspec.json.encode(size).decode()))

    def _checked(self) -> tuple[LocalList, str]:
        """Each row is read once, none is kept."""
        row = self._database.execute("SELECT value FROM known WHERE name = ?", (_SIZE,)).fetchone()
        size = LocalList() if row is None else msgspec.json.decode(row[0], type=LocalList)
        count = 0
        for (body,) in self._database.execute("SELECT CAST(body AS BLOB) FROM local_list"):
            msgspec.json.decode(body, type=IdTagInfo)
            count += 1
        if count == size.entries:
            return size, ""
        return LocalList(), f"local_list: {count} of {size.entries} entries are left of version {size.version}"
