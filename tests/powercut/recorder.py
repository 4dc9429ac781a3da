"""Records what SQLite writes, by a VFS of our own around the one of the system, in the very library that `sqlite3` uses.

    with Recorder(directory) as recorder:
        ...                       # anything that opens a database below `directory` with sqlite3.connect
    recorder.events               # every write, truncate, sync and delete, and where commits were complete

How. SQLite talks to files through two tables of functions. We register a copy of the default VFS's table, as the new default,
in which only xOpen and xDelete are ours; of each file that is opened we replace the table of methods by a copy in which only
those are ours that write, sync or tell of a commit. All others go straight to the real ones. No production code knows of it.

Owns: the tables and the record. Does not: judge (`replay.py`). The shared-memory file (-shm) is no part of the record: SQLite
builds it anew. Not for two threads at a time.
"""

import _sqlite3
import ctypes
import os
from collections.abc import Callable
from typing import Any

import msgspec

_OK = 0
_OPEN_CREATE = 0x4
_OPEN_MAIN_DB, _OPEN_MAIN_JOURNAL, _OPEN_WAL = 0x100, 0x800, 0x80000
_RECORDED = _OPEN_MAIN_DB | _OPEN_MAIN_JOURNAL | _OPEN_WAL
_FCNTL_COMMIT_PHASETWO = 22
"""Told to the database's file when a transaction has been committed, before it is unlocked."""
_NAME = b"chargebus-recorder"


class Event(msgspec.Struct, frozen=True):
    """Something that was asked of a file; `file` is its name below the directory."""

    file: str


class Create(Event, frozen=True):
    """The file was made."""


class Write(Event, frozen=True):
    """Bytes at a place."""

    offset: int
    data: bytes


class Truncate(Event, frozen=True):
    """The file's new size."""

    size: int


class Sync(Event, frozen=True):
    """All before it is on the disk when this has returned; `directory`: the names of all files, too.

    SQLite syncs the directory with the first sync of a journal or log that it has made.
    """

    directory: bool


class Delete(Event, frozen=True):
    """The file's name is gone; `durable`: its directory was synced."""

    durable: bool


class Commit(Event, frozen=True):
    """A transaction of this database was complete: from here on the caller may believe it."""


class _Vfs(ctypes.Structure):
    pass


_Pointer = ctypes.c_void_p
_XOPEN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Vfs), _Pointer, _Pointer, ctypes.c_int, ctypes.POINTER(ctypes.c_int))
_XDELETE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Vfs), _Pointer, ctypes.c_int)
_Vfs._fields_ = [
    ("iVersion", ctypes.c_int),
    ("szOsFile", ctypes.c_int),
    ("mxPathname", ctypes.c_int),
    ("pNext", _Pointer),
    ("zName", ctypes.c_char_p),
    ("pAppData", _Pointer),
    ("xOpen", _XOPEN),
    ("xDelete", _XDELETE),
    ("rest", _Pointer * 14),
]
_XCLOSE = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)
_XWRITE = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int, ctypes.c_int64)
_XTRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int64)
_XSYNC = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int)
_XFILE_CONTROL = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int, _Pointer)


class _Methods(ctypes.Structure):
    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("xClose", _XCLOSE),
        ("xRead", _Pointer),
        ("xWrite", _XWRITE),
        ("xTruncate", _XTRUNCATE),
        ("xSync", _XSYNC),
        ("xFileSize", _Pointer),
        ("xLock", _Pointer),
        ("xUnlock", _Pointer),
        ("xCheckReservedLock", _Pointer),
        ("xFileControl", _XFILE_CONTROL),
        ("rest", _Pointer * 8),
    ]


class _File(ctypes.Structure):
    _fields_ = [("pMethods", ctypes.POINTER(_Methods))]


class Unsupported(Exception):
    """This Python's sqlite3 does not let its library be reached."""


_KEPT: list[object] = []
"""Tables that SQLite may still point to: a connection knows its VFS until it is closed, whenever that is."""


class Recorder:
    """A context: every database below `directory` that is opened in it is recorded, also after it, until it is closed."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.realpath(directory)
        self.events: list[Event] = []
        self._library = _library()
        self._default = ctypes.cast(self._library.sqlite3_vfs_find(None), ctypes.POINTER(_Vfs))
        self._names: dict[int, str] = {}
        self._new_journals: set[str] = set()
        self._real: dict[int, _Methods] = {}
        self._tables: dict[int, _Methods] = {}
        self._vfs = _copied(self._default.contents, _Vfs)
        self._vfs.zName = _NAME
        self._vfs.pNext = None
        self._vfs.xOpen = _XOPEN(self._open)
        self._vfs.xDelete = _XDELETE(self._delete)

    def __enter__(self) -> "Recorder":
        _KEPT.append(self._vfs)
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) == _OK
        return self

    def __exit__(self, *_: object) -> None:
        """The old default again."""
        assert self._library.sqlite3_vfs_register(self._default, 1) == _OK
        assert self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs)) == _OK

    def _open(self, vfs: Any, name: int | None, file: int, flags: int, out: Any) -> int:
        """The name is passed on as the pointer that it is: SQLite keeps it."""
        relative = self._below(name)
        missing = relative is not None and not os.path.exists(os.path.join(self._directory, relative))
        code = int(self._default.contents.xOpen(vfs, name, file, flags, out))
        if code != _OK or relative is None or not flags & _RECORDED:
            return code
        if missing and flags & _OPEN_CREATE:
            self.events.append(Create(relative))
            if flags & (_OPEN_MAIN_JOURNAL | _OPEN_WAL):
                self._new_journals.add(relative)
        real = _File.from_address(file).pMethods
        self._real[file] = real.contents
        self._names[file] = relative
        table = _copied(real.contents, _Methods)
        table.xClose = _XCLOSE(self._close)
        table.xWrite = _XWRITE(self._write)
        table.xTruncate = _XTRUNCATE(self._truncate)
        table.xSync = _XSYNC(self._sync)
        table.xFileControl = _XFILE_CONTROL(self._file_control)
        self._tables[file] = table
        _File.from_address(file).pMethods = ctypes.pointer(table)
        return code

    def _delete(self, vfs: Any, name: int, sync_directory: int) -> int:
        relative = self._below(name)
        code = int(self._default.contents.xDelete(vfs, name, sync_directory))
        if code == _OK and relative is not None:
            self.events.append(Delete(relative, bool(sync_directory)))
        return code

    def _close(self, file: int) -> int:
        real = self._real.pop(file)
        self._names.pop(file)
        self._tables.pop(file)
        return int(real.xClose(file))

    def _write(self, file: int, data: int, count: int, offset: int) -> int:
        code = int(self._real[file].xWrite(file, data, count, offset))
        if code == _OK:
            self.events.append(Write(self._names[file], offset, ctypes.string_at(data, count)))
        return code

    def _truncate(self, file: int, size: int) -> int:
        code = int(self._real[file].xTruncate(file, size))
        if code == _OK:
            self.events.append(Truncate(self._names[file], size))
        return code

    def _sync(self, file: int, flags: int) -> int:
        code = int(self._real[file].xSync(file, flags))
        if code == _OK:
            name = self._names[file]
            self.events.append(Sync(name, directory=name in self._new_journals))
            self._new_journals.discard(name)
        return code

    def _file_control(self, file: int, operation: int, argument: int | None) -> int:
        code = int(self._real[file].xFileControl(file, operation, argument))
        if operation == _FCNTL_COMMIT_PHASETWO:
            self.events.append(Commit(self._names[file]))
        return code

    def _below(self, name: int | None) -> str | None:
        """The name below the directory; None: a temporary file, or somebody else's."""
        if name is None:
            return None
        path = os.path.realpath(os.fsdecode(ctypes.string_at(name)))
        return os.path.relpath(path, self._directory) if path.startswith(self._directory + os.sep) else None


def _library() -> ctypes.CDLL:
    """The SQLite that `sqlite3` itself uses, looked up through its extension module. Raises Unsupported."""
    try:
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = ctypes.c_void_p
        library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        library.sqlite3_vfs_register.argtypes = [_Pointer, ctypes.c_int]
        library.sqlite3_vfs_unregister.argtypes = [_Pointer]
    except (AttributeError, OSError) as error:
        raise Unsupported(f"this Python's sqlite3 hides its library: {error}") from None
    return library


def _copied(table: Any, kind: Callable[[], Any]) -> Any:
    copy = kind()
    ctypes.pointer(copy)[0] = table
    return copy
