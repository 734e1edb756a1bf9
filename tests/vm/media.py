"""Memory cards: images of what a camera has in it, made and looked into without mounting them.

This machine's kernel may know no FAT; mtools and debugfs need none. For exFAT there is no such
tool: such a card is filled and read in a virtual machine.
"""

import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FileSystem = Literal["vfat", "exfat", "ext4"]

_TYPES: Mapping[FileSystem, str] = {"vfat": "c", "exfat": "7", "ext4": "83"}
_NO_HARM = re.compile(
    r"fsck\.fat |There are differences between boot sector and its backup"
    r"|This is mostly harmless|  65:01/00|  Not automatically fixing this"
    r"|FATs differ but appear to be intact|  Using first FAT"
    r"|Dirty bit is set|\s*Automatically removing dirty bit"
    r"|Reclaimed \d+ unused clusters?|Free cluster summary wrong|\s*Auto-correcting"
    r"|\*\*\* Filesystem was changed|The changes have not yet been written"
    r"|you can still choose to leave|\s*$|Leaving filesystem unchanged|\S+: \d+ files, "
)
_FIRST = 1 << 20
"""Where the partition begins, in bytes; its number in sectors is 2048."""


@dataclass(frozen=True)
class Card:
    """An image with one file system, in a partition or without a table."""

    path: Path
    filesystem: FileSystem
    offset: int

    def files(self) -> dict[str, bytes]:
        """Return what is on it, by path."""
        with tempfile.TemporaryDirectory() as folder:
            if self.filesystem == "vfat":
                _run("mcopy", "-s", "-n", "-Q", "-i", self._mtools, "::*", folder, expect=(0, 1))
            else:
                assert self.filesystem == "ext4", "this machine can't read exFAT"
                _run("debugfs", "-R", f"rdump / {folder}", f"{self.path}?offset={self.offset}")
                shutil.rmtree(Path(folder) / "lost+found")
            root = Path(folder)
            return {
                str(path.relative_to(root)): path.read_bytes()
                for path in sorted(root.rglob("*"))
                if path.is_file()
            }

    def put(self, files: Mapping[str, bytes]) -> None:
        """Put more files onto a FAT card, over what is there."""
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), files)
            _run(
                *("mcopy", "-s", "-o", "-Q", "-i", self._mtools),
                *(str(path) for path in Path(folder).iterdir()),
                "::",
            )

    def check(self, *, torn: bool = False) -> str:
        """Check its file system, changing nothing; returns what there is to complain of.

        Where it was torn out while it was written to, FAT, which has no journal, keeps the
        mark of that, clusters that nothing uses any more, and a second table that is older
        than the first, which is the one that counts. That is no harm to any file.
        """
        with tempfile.TemporaryDirectory() as folder:
            volume = Path(folder) / "volume"
            skip = f"skip={self.offset}"
            _run(
                *("dd", f"if={self.path}", f"of={volume}", skip, "iflag=skip_bytes"),
                *("bs=1M", "conv=sparse", "status=none"),
            )
            checker = {
                "vfat": ["fsck.vfat", "-n"],
                "exfat": ["fsck.exfat", "-n"],
                "ext4": ["e2fsck", "-fn"],
            }[self.filesystem]
            ended = subprocess.run(
                [*checker, str(volume)], capture_output=True, text=True, check=False
            )
            if ended.returncode == 0:
                return ""
            said = (ended.stdout + ended.stderr).splitlines()
            return "\n".join(line for line in said if not (torn and _NO_HARM.match(line)))

    def sector_of(self, data: bytes) -> int:
        """Return where these bytes begin, which are nowhere else, in sectors of 512 bytes."""
        place = self.path.read_bytes().find(data)
        assert place > 0
        return place // 512

    @property
    def _mtools(self) -> str:
        return f"{self.path}@@{self.offset}"


def make_card(
    path: Path,
    files: Mapping[str, bytes],
    *,
    filesystem: FileSystem = "vfat",
    table: bool = True,
    size: int = 64 << 20,
    label: str = "CAMERA",
) -> Card:
    """Make a card with these files; an exFAT one stays empty."""
    card = Card(path, filesystem, _FIRST if table else 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "files"
        volume = Path(name) / "volume"
        _write(folder, files)
        with volume.open("wb") as file:
            file.truncate(size - card.offset)
        if filesystem == "vfat":
            # One sector a cluster lets a small card have enough of them for FAT32.
            _run("mkfs.vfat", "-F", "32", "-s", "1", "-n", label, str(volume))
        elif filesystem == "exfat":
            assert not files
            _run("mkfs.exfat", "-L", label, str(volume))
        else:
            _run("mkfs.ext4", "-q", "-L", label, "-d", str(folder), str(volume))
        with path.open("wb") as file:
            file.truncate(size)
        if table:
            _run("sfdisk", "--quiet", str(path), stdin=f"start=2048,type={_TYPES[filesystem]}")
        _run(
            *("dd", f"if={volume}", f"of={path}", f"seek={card.offset}", "oflag=seek_bytes"),
            *("bs=1M", "conv=notrunc,sparse", "status=none"),
        )
    if filesystem == "vfat" and files:
        card.put(files)
    return card


def clip(seed: object, size: int = 300_000) -> bytes:
    """Return bytes that no other seed has."""
    return random.Random(repr(seed)).randbytes(size)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _run(*command: str, stdin: str = "", expect: tuple[int, ...] = (0,)) -> str:
    ended = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert ended.returncode in expect, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout
