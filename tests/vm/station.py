"""A station and a receiver, as docs/install.md leaves them, at work in a machine."""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dockd.base.clock import Clock
from dockd.evidence.age import X25519Identity, open_stream
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.statements import read_unverified_manifest, verify_receipt
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import ON_ITS_WAY
from dockd.station.model import Clip
from tests.vm.journal import Event
from tests.vm.machine import Camera, Machine
from tests.vm.media import Card, FileSystem, make_card
from tests.vm.shell import until

FIRST, SECOND = "camden-07", "camden-08"
"""The station of the page, and another one that is enrolled too."""

BAY = 3
"""The port that has a name."""

_STORE = "/var/lib/dockd-receiver"
_SECRETS = "/etc/credstore"
_ENROLLED = f"""
[[stations]]
id = "{SECOND}"
public_keys = ["{SECOND}.pub"]
tokens_sha256 = ["%(token)s"]
"""
_STATION = f"""\
[station]
id = "%(id)s"
key_file = "station.key"

[encryption]
recipients = ["%(recipient)s"]

[target]
url = "https://localhost:8443/files/"
receipts_url = "https://localhost:8443/receipts/"
receiver_keys = ["receiver.pub"]
ca_file = "ca.pem"
token_file = "token"
timeout_seconds = 5
retry_first_seconds = 0.2
retry_cap_seconds = 1

[wipe]
policy = "delete"

[[profiles]]
name = "bodycam"
rules = [
    {{ pattern = "**/*.mp4", kind = "video" }},
    {{ pattern = "**/*.gps", kind = "sidecar" }},
]

[profiles.usb]
vendor = "46f4"
product = "0001"
serial = "CAM-*"

[[bays]]
name = "bay {BAY}"
port = "*-usb-0:{BAY}"
"""
# A consistent copy of the database, while the daemon works with it.
_COPY_LEDGER = (
    "import sqlite3, sys;"
    "ledger = sqlite3.connect('file:/var/lib/dockd/ledger.db?mode=ro', uri=True);"
    "sys.stdout.buffer.write(ledger.serialize())"
)


@dataclass(frozen=True)
class Bodycam:
    """A camera of the station's profile, and what was recorded with it."""

    card: Card
    serial: str
    recorded: Mapping[str, bytes]

    @property
    def id(self) -> str:
        return f"bodycam:{self.serial}"

    @property
    def digests(self) -> list[str]:
        """The SHA-256 of each clip, sorted."""
        return sorted(
            hashlib.sha256(data).hexdigest()
            for name, data in self.recorded.items()
            if name.endswith((".mp4", ".gps"))
        )

    @property
    def strangers(self) -> dict[str, bytes]:
        """The files that are no clips."""
        return {
            name: data
            for name, data in self.recorded.items()
            if not name.endswith((".mp4", ".gps"))
        }


class Station:
    """The station; `machine` must be on."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self._folder = folder
        self._identity = X25519Identity.generate()
        self._cameras = 0
        self._id = FIRST
        self._opened: dict[str, tuple[str, str]] = {}

    # Both services

    def set_up(self) -> None:
        """Configure both services for the tests, and start them; what they had is gone."""
        machine = self.machine
        machine.run("systemctl stop dockd dockd-receiver && rm -rf /var/lib/dockd*/*")
        key, token = SigningKey.generate(), b"5ec0d" * 8
        machine.run(
            f"cd {_SECRETS} && mkdir {FIRST} {SECOND} && cp dockd.station.key dockd.token {FIRST}"
        )
        machine.put(key.pem(), f"{_SECRETS}/{SECOND}/dockd.station.key")
        machine.put(token, f"{_SECRETS}/{SECOND}/dockd.token")
        machine.put(key.verify_key.pem(), f"/etc/dockd/{SECOND}.pub")
        enrolled = _ENROLLED % {"token": hashlib.sha256(token).hexdigest()}
        machine.run("cat >> /etc/dockd/receiver.toml", stdin=enrolled.encode())
        self._configure()
        machine.run("systemctl start dockd-receiver dockd")
        key_file = self._folder / "receiver.pub"
        key_file.write_bytes(machine.get("/etc/dockd/receiver.pub"))
        self._receiver_key = VerifyKey.load(key_file)

    def _configure(self) -> None:
        config = _STATION % {"id": self._id, "recipient": self._identity.recipient}
        self.machine.put(config.encode(), "/etc/dockd/config.toml")

    def become(self, station: str) -> None:
        """Make another station of this one, with its own key and its own ledger."""
        if station == self._id:
            return
        self.machine.run(
            "systemctl stop dockd;"
            f"mv /var/lib/dockd /var/lib/{self._id};"
            f"[ ! -e /var/lib/{station} ] || mv /var/lib/{station} /var/lib/dockd;"
            f"cp {_SECRETS}/{station}/* {_SECRETS}"
        )
        self._id = station
        self._configure()
        self.machine.run("systemctl start dockd")

    def clear(self) -> None:
        """Empty the dock, mend the network, and be the page's station again."""
        for camera in list(self.machine.cameras):
            self.machine.unplug(camera)
        self.machine.run("nft flush ruleset; tc qdisc del dev lo root; true")
        self.machine.run("systemctl start dockd-receiver dockd")
        self.become(FIRST)

    def wait_for(
        self, event: str, camera: Bodycam, *, since: int = 0, count: int = 1, **fields: object
    ) -> Event:
        """Wait for an event about a camera."""
        about: dict[str, Any] = {"camera": camera.id, **fields}
        return self.machine.journal.wait_for(event, since=since, count=count, **about)

    def settle(self, camera: Bodycam) -> None:
        """Wait until nothing of a camera is on its way to the receiver any more."""
        until(lambda: not any(clip.state in ON_ITS_WAY for clip in self.clips(camera)))

    def mark(self) -> int:
        """Return the place in the log after what has been said up to now."""
        return self.machine.journal.mark()

    def clips(self, camera: Bodycam) -> list[Clip]:
        """Return a camera's clips, as the station's ledger has them now."""
        path = self._folder / "ledger.db"
        path.write_bytes(self.machine.shell.read(f'python3 -c "{_COPY_LEDGER}"'))
        ledger = Ledger(path, Clock())
        try:
            ledger.journal.verify()
            return [clip for clip in ledger.queries.clips() if clip.camera.id == camera.id]
        finally:
            ledger.close()

    def evidence(self, camera: Bodycam) -> list[str]:
        """Return the SHA-256 of each clip of a camera, opened; sorted.

        A clip may have been stored and signed for more than once: as one piece of evidence.
        """
        receipts = self.machine.run(f"cd {_STORE} && find -name '*.receipt.jws'").split()
        stems = {name.removesuffix(".receipt.jws") for name in receipts} - self._opened.keys()
        wanted = "\n".join(
            f"{stem}{end}" for stem in stems for end in (".age", ".manifest.jws", ".receipt.jws")
        )
        packed = self.machine.shell.read(f"tar -C {_STORE} -c -T -", stdin=wanted.encode())
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            for stem in stems:
                self._opened[stem] = self._open(
                    *(
                        _member(files, f"{stem}{end}")
                        for end in (".age", ".manifest.jws", ".receipt.jws")
                    )
                )
        clips: dict[str, str] = {}
        for stem, (owner, digest) in self._opened.items():
            if owner == camera.id:
                assert clips.setdefault(PurePosixPath(stem).name[:64], digest) == digest
        return sorted(clips.values())

    def _open(self, ciphertext: bytes, manifest: bytes, receipt: bytes) -> tuple[str, str]:
        """Return whose clip a stored one is, and its digest."""
        verify_receipt(receipt.decode(), [self._receiver_key], manifest.decode())
        camera = read_unverified_manifest(manifest.decode()).camera
        digest = hashlib.sha256()
        for block in open_stream(io.BytesIO(ciphertext), [self._identity]):
            digest.update(block)
        return camera.id, digest.hexdigest()

    # Cameras

    def bodycam(
        self,
        recorded: Mapping[str, bytes],
        *,
        filesystem: FileSystem = "vfat",
        table: bool = True,
    ) -> Bodycam:
        """Return a new camera, not yet docked, with these files."""
        self._cameras += 1
        serial = f"CAM-{self._cameras:04}"
        path = self._folder / f"{serial}.img"
        if filesystem == "exfat":
            card = make_card(path, {}, filesystem=filesystem, table=table)
            with self._mounted(card) as folder:
                self.machine.run(f"tar -C {folder} -x", stdin=_packed(recorded))
        else:
            card = make_card(path, recorded, filesystem=filesystem, table=table)
        return Bodycam(card, serial, recorded)

    def plug(self, camera: Bodycam, *, port: int | None = None) -> Camera:
        """Put a camera into the dock."""
        return self.machine.plug(camera.card.path, serial=camera.serial, port=port)

    def left_on(self, camera: Bodycam) -> dict[str, bytes]:
        """Return the files that are on a camera, which is not docked."""
        if camera.card.filesystem != "exfat":
            return camera.card.files()
        with self._mounted(camera.card) as folder:
            packed = self.machine.shell.read(f"tar -C {folder} -c .")
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            return {
                member.name.removeprefix("./"): _member(files, member.name)
                for member in files
                if member.isfile()
            }

    @contextmanager
    def _mounted(self, card: Card) -> Iterator[str]:
        """Mount a card in the machine as one that is no camera."""
        folder = "/media/workbench"
        reader = self.machine.plug(card.path, serial="WORKBENCH")
        node = self.machine.wait_for_node("WORKBENCH-0:0" + ("-part1" if card.offset else ""))
        self.machine.run(f"mkdir -p {folder} && mount {node} {folder}")
        yield folder
        self.machine.run(f"umount {folder}")
        self.machine.unplug(reader)

    def assert_done(self, camera: Bodycam, *, torn: bool = False) -> None:
        """Make sure that a camera, not docked, is empty, and each clip one piece of evidence."""
        assert self.evidence(camera) == camera.digests
        assert self.left_on(camera) == camera.strangers
        assert camera.card.check(torn=torn) == ""


def _packed(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
