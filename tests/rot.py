"""Bit rot in a database file, and that of an installed station: one bit anywhere, or one value of a row.

Owns: spoiling files. Does not: know what is in them.
"""

import random
import sqlite3
from pathlib import Path

NOT_TEXT = "CAST(x'7bff7d' AS TEXT)"
"""SQL of a text with a byte that no text has."""


def content(database: sqlite3.Connection, path: Path) -> bytes:
    """All that is committed, in the one file."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


def flip_one_bit(good: bytes, dice: random.Random) -> bytes:
    """One bit of it is another."""
    bad = bytearray(good)
    bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
    return bytes(bad)


def put(path: Path, new: bytes) -> None:
    """In the place of the database, whose service is not running."""
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    path.write_bytes(new)


def spoil(path: Path, table: str, change: str, where: str = "1") -> None:
    """Change values behind SQLite's back, as far as its own check can see: with every index as it has to be."""
    database = sqlite3.connect(path, isolation_level=None)
    changed = database.execute(f"UPDATE {table} SET {change} WHERE {where}").rowcount
    assert changed, "nothing was spoilt"
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
