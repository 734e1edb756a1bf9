"""A FAT32 file system that is damaged by hand, as no tool would leave it.

After Microsoft's "FAT32 File System Specification", version 1.03: sections "Boot Sector and
BPB", "FAT Data Structure" and "FAT Directory Structure".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.vm.media import Card

END = 0x0FFFFFFF
"""What the last cluster of a chain is followed by."""

_ENTRY = 32
_NO_MORE, _REMOVED = 0x00, 0xE5
_LONG_NAME, _LABEL, _FOLDER = 0x0F, 0x08, 0x10
_UNITS_AN_ENTRY = 13
_UNITS_AT = (*range(1, 11, 2), *range(14, 26, 2), 28, 30)


@dataclass(frozen=True)
class Entry:
    """A file or folder, as its folder has it."""

    at: int
    """Where its entry with the short name is, in bytes of the image; its long name is before."""
    name: str
    """Its long name, else the short one."""
    first: int
    """Its first cluster."""
    size: int
    is_folder: bool


class Fat:
    """The FAT32 file system of a card, which is not docked."""

    def __init__(self, card: Card) -> None:
        self._path: Path = card.path
        self._start = card.offset
        boot = self._read(self._start, 512)
        self._per_cluster: int
        sector, self._per_cluster, reserved, self._copies = struct.unpack_from("<HBHB", boot, 11)
        assert (sector, boot[82:90]) == (512, b"FAT32   "), "no FAT32 of mkfs.vfat"
        (self._length,) = struct.unpack_from("<I", boot, 36)
        (self._root,) = struct.unpack_from("<I", boot, 44)
        self._table = self._start + 512 * reserved
        self._data = self._table + 512 * self._length * self._copies

    # What there is

    def chain(self, first: int) -> list[int]:
        """Return the clusters of a chain, up to the first that comes again."""
        chain: list[int] = []
        while 2 <= first < 0x0FFFFFF7 and first not in chain:
            chain.append(first)
            (first,) = struct.unpack("<I", self._read(self._table + 4 * first, 4))
        return chain

    def entries(self) -> dict[str, list[Entry]]:
        """Return what its folders list, by path; a name may be there more than once."""
        found: dict[str, list[Entry]] = {}
        folders = [("", self._root)]
        seen = {self._root}
        while folders:
            prefix, first = folders.pop()
            for entry in self._list(first):
                found.setdefault(prefix + entry.name, []).append(entry)
                if entry.is_folder and entry.first not in seen:
                    seen.add(entry.first)
                    folders.append((f"{prefix}{entry.name}/", entry.first))
        return found

    def entry(self, path: str) -> Entry:
        """Return the one entry of a path."""
        (entry,) = self.entries()[path]
        return entry

    def clusters(self, path: str) -> list[int]:
        """Return the clusters of a file or folder."""
        return self.chain(self.entry(path).first)

    def _list(self, first: int) -> Iterator[Entry]:
        units: list[int] = []
        for cluster in self.chain(first):
            for at in range(self._at(cluster), self._at(cluster + 1), _ENTRY):
                raw = self._read(at, _ENTRY)
                if raw[0] == _NO_MORE:
                    return
                if raw[0] == _REMOVED or raw[0] == ord("."):
                    continue
                if raw[11] == _LONG_NAME:
                    units = [struct.unpack_from("<H", raw, place)[0] for place in _UNITS_AT] + units
                    continue
                if not raw[11] & _LABEL:
                    high, low, size = struct.unpack("<20xH4xHI", raw)
                    name = _text(units) if units else _short(raw)
                    yield Entry(at, name, high << 16 | low, size, bool(raw[11] & _FOLDER))
                units = []

    def _at(self, cluster: int) -> int:
        return int(self._data + (cluster - 2) * 512 * self._per_cluster)

    # Damage

    def link(self, *clusters: int) -> None:
        """Make each cluster the next one's predecessor."""
        for cluster, following in pairwise(clusters):
            for copy in range(self._copies):
                place = self._table + 512 * self._length * copy + 4 * cluster
                self._write(place, struct.pack("<I", following))

    def resize(self, path: str, size: int) -> None:
        """Let an entry say another size."""
        self._write(self.entry(path).at + 28, struct.pack("<I", size))

    def begin(self, path: str, cluster: int) -> None:
        """Let an entry begin at another cluster."""
        at = self.entry(path).at
        self._write(at + 20, struct.pack("<H", cluster >> 16))
        self._write(at + 26, struct.pack("<H", cluster & 0xFFFF))

    def remove(self, path: str) -> None:
        """Mark an entry as removed, but not those of its long name, nor its clusters."""
        self._write(self.entry(path).at, bytes([_REMOVED]))

    def rename(self, path: str, name: str) -> None:
        """Give an entry another long name of the same length; any UTF-16 will do."""
        entry = self.entry(path)
        new = name.encode("utf-16-le", "surrogatepass")
        old = entry.name.encode("utf-16-le", "surrogatepass")
        assert len(new) == len(old)
        for number in range(len(new) // 2):
            of_entry, unit = divmod(number, _UNITS_AN_ENTRY)
            place = entry.at - _ENTRY * (of_entry + 1) + _UNITS_AT[unit]
            self._write(place, new[2 * number : 2 * number + 2])

    def _read(self, at: int, size: int) -> bytes:
        with self._path.open("rb") as image:
            image.seek(at)
            return image.read(size)

    def _write(self, at: int, data: bytes) -> None:
        with self._path.open("r+b") as image:
            image.seek(at)
            image.write(data)


def _text(units: list[int]) -> str:
    end = units.index(0) if 0 in units else len(units)
    return struct.pack(f"<{end}H", *units[:end]).decode("utf-16-le", "surrogatepass")


def _short(raw: bytes) -> str:
    name, kind = raw[:8].rstrip().decode("latin-1"), raw[8:11].rstrip().decode("latin-1")
    # Windows NT's flags, which save a long name: all of it is in lower case.
    name = name.lower() if raw[12] & 0x08 else name
    kind = kind.lower() if raw[12] & 0x10 else kind
    return f"{name}.{kind}" if kind else name
