"""A support bundle being written: a tar.gz that never gets larger than it may, and a manifest of what is in it.

Each member is compressed on trial, by a copy of the compressor, so that its size is known before it is in. What is most wanted
goes in first; of a log that has no room any more its newest lines do.

Owns: the bound, the manifest, the secrets' second net. Does not: know what is collected (`bundle_parts.py`).
"""

import tarfile
import zlib
from typing import Protocol

import msgspec

from services.station.masking import without

MANIFEST = "manifest.json"
_MANIFEST_BYTES = 64 << 10
"""Kept free for it until the end."""
_GZIP = 16 + zlib.MAX_WBITS
_MIN_BYTES = 4096
"""A piece of a log that is shorter helps nobody."""


class NotWritten(Exception):
    """The file does not take any more; the text says why."""


class Part(msgspec.Struct, frozen=True):
    """A member. `note`: in what way it is not all."""

    name: str
    what: str
    bytes: int
    note: str = ""


class Missing(msgspec.Struct, frozen=True):
    """What could not be had, or was left out, and why."""

    name: str
    why: str


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle says of itself."""

    format: str
    version: int
    made_utc: str
    release: str
    state_dir: str
    running: bool | None
    parts: tuple[Part, ...]
    missing: tuple[Missing, ...]
    hidden: str
    """What is not shown, in words."""


class Sink(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes, /) -> object:
        """All of them. Raises OSError."""


class _Trial(msgspec.Struct, frozen=True):
    """A member, compressed, and the compressor that has it behind it."""

    packed: bytes
    compressor: "zlib._Compress"


class Archive:
    """Takes members until the room is used up."""

    def __init__(self, file: Sink, top: str, size_max: int) -> None:
        """`top`: the directory in the archive; `size_max` in bytes, the manifest included."""
        self._file, self._top, self._left = file, top, size_max - _MANIFEST_BYTES
        self._compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self.secrets: tuple[bytes, ...] = ()
        self.written = 0
        self.parts: list[Part] = []
        self.missing: list[Missing] = []

    def add(self, name: str, what: str, data: bytes, unix_s: float = 0.0) -> None:
        """One member, whole or not at all."""
        data = without(data, self.secrets)
        trial = self._trial(name, data, unix_s)
        if len(trial.packed) > self._left:
            self.lacks(name, f"no room for {len(data)} bytes any more; give more with --size")
        else:
            self._take(trial)
            self.parts.append(Part(name, what, len(data)))

    def add_newest(self, name: str, what: str, data: bytes, unix_s: float = 0.0) -> None:
        """Lines, of which the newest are wanted most: as many as there is room for."""
        data = without(data, self.secrets)
        rest, trial = data, self._trial(name, data, unix_s)
        while len(trial.packed) > self._left and len(rest) > _MIN_BYTES:
            half = rest[len(rest) // 2 :]
            rest = half[half.find(b"\n") + 1 :]
            trial = self._trial(name, rest, unix_s)
        if len(trial.packed) > self._left:
            self.lacks(name, f"no room for {len(data)} bytes any more; give more with --size")
            return
        self._take(trial)
        note = "" if rest is data else f"the newest of {len(data)} bytes"
        self.parts.append(Part(name, what, len(rest), note))

    def lacks(self, name: str, why: str) -> None:
        """Note what could not be had."""
        self.missing.append(Missing(name, without(why.encode(), self.secrets).decode("utf-8", "replace")))

    def finish(self, manifest: Manifest, unix_s: float) -> None:
        """Write the manifest and the end."""
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        self._take(self._trial(MANIFEST, text, unix_s))
        self._write(self._compressor.compress(bytes(tarfile.RECORDSIZE)) + self._compressor.flush())

    def _trial(self, name: str, data: bytes, unix_s: float) -> "_Trial":
        about = tarfile.TarInfo(f"{self._top}/{name}")
        about.size, about.mtime, about.mode = len(data), int(unix_s), 0o600
        compressor = self._compressor.copy()
        pieces = (about.tobuf(tarfile.PAX_FORMAT), data, bytes(-len(data) % tarfile.BLOCKSIZE))
        packed = b"".join([*map(compressor.compress, pieces), compressor.flush(zlib.Z_SYNC_FLUSH)])
        return _Trial(packed, compressor)

    def _take(self, trial: "_Trial") -> None:
        self._compressor = trial.compressor
        self._write(trial.packed)

    def _write(self, packed: bytes) -> None:
        try:
            self._file.write(packed)
        except OSError as error:
            raise NotWritten(error.strerror) from None
        self._left -= len(packed)
        self.written += len(packed)
